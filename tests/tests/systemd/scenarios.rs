//! Boots, crashes, hangs and restarts.

use firewall_tests::lab::RuleFile;
use nix::sys::signal::{Signal, kill};

use crate::foreign::Foreign;
use crate::guest::Guest;
use crate::installed_host::{INTERFACES, InstalledHost, Watch};
use crate::units::{AGENT, DATABASE, JOB_TIMEOUT, RESTORE, WATCHDOG};

/// Room for the first database only.
const CROWDED: &str = "max_prefixes: 4\n";

#[test]
fn database_runs_only_on_a_filtered_host_over_crashes_and_hangs() {
    let host = InstalledHost::new();
    host.write_unit(&format!("{AGENT}.d/watchdog.conf"), WATCHDOG);
    let watch = host.watch();
    let guest = host.boot();
    runs(&host, &guest, &watch, "0");
    let status = guest.property(AGENT, "StatusText");
    let (databases, interfaces) = status.split_once(", generation ").unwrap();
    assert_eq!(databases, "1 database", "{status}");
    assert!(interfaces.ends_with(", interfaces eth0 eth1"), "{status}");
    let shown = guest.systemctl(&["status", "firewall-agent"]);
    assert!(shown.out.contains(&format!("Status: \"{status}\"")), "{shown:?}");
    live_through(&host, &guest, &watch, "0").unwrap();

    // A hang: systemd kills the agent and restarts it.
    assert!(!guest.log().contains("Watchdog timeout"), "a living agent notifies systemd: {}", guest.log());
    let hung = guest.main_process(AGENT).unwrap();
    kill(hung, Signal::SIGSTOP).unwrap();
    guest.wait_until("the agent that hangs is started again", || {
        guest.main_process(AGENT).is_some_and(|pid| pid != hung) && is_active(&guest, AGENT)
    });
    assert!(guest.log().contains("firewall-agent.service: Watchdog timeout (limit 15s)"), "{}", guest.log());
    runs(&host, &guest, &watch, "0");

    // SIGTERM: the agent reports its end, and everything stays in force.
    guest.order(&["stop", AGENT]);
    assert_eq!(guest.property(AGENT, "Result"), "success");
    runs(&host, &guest, &watch, "0");
}

#[test]
fn one_database_without_room_does_not_stop_the_others() {
    let host = InstalledHost::new();
    crowd(&host);
    let watch = host.watch();
    let guest = host.boot();
    runs(&host, &guest, &watch, "6");
    let why = guest.journal(&["-u", "firewall-agent-restore"]);
    assert!(why.contains("filtered, but not everything is in force: database zz-crowd: "), "{why}");
    live_through(&host, &guest, &watch, "6").unwrap();
}

#[test]
fn a_database_that_requires_a_missing_unit_does_not_start() {
    let host = InstalledHost::new();
    host.remove_unit(RESTORE);
    let watch = host.watch();
    let guest = host.boot();
    assert_eq!(guest.property(DATABASE, "ActiveState"), "inactive");
    let refused = guest.systemctl(&["start", DATABASE]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    watch.assert_no_connection();
    drop(guest);
    host.cut_power();
    // Control: requiring the unit is not enough.
    host.without_assertions();
    let guest = host.boot();
    guest.wait_until("the database runs", || is_active(&guest, DATABASE));
}

/// Controls of the two tests above.
#[test]
fn without_its_settings_the_restore_unit_fails_the_same_scenarios() {
    let host = InstalledHost::new();
    host.strip(RESTORE, &["RemainAfterExit"]);
    let watch = host.watch();
    let guest = host.boot();
    let again = live_through(&host, &guest, &watch, "0").unwrap_err();
    assert!(again.contains("restore ran again"), "{again}");
    drop(guest);
    host.cut_power();

    crowd(&host);
    host.strip(RESTORE, &["SuccessExitStatus"]);
    let guest = host.boot();
    stays_down(&guest, "6");
    watch.assert_no_connection();
}

#[test]
fn database_stays_down_until_every_interface_is_filtered() {
    let host = InstalledHost::new();
    host.configure(&format!("{INTERFACES}, late0"), "");
    let watch = host.watch();
    let guest = host.boot();
    stays_down(&guest, "1");
    // The agent attaches to the present interfaces; the missing one may come later.
    guest.wait_until("the agent is ready", || is_active(&guest, AGENT));
    host.db.run("ip link add late0 type veth peer name late1").unwrap();
    guest.wait_until("it filters the interface", || {
        guest.property(AGENT, "StatusText").ends_with("interfaces eth0 eth1 late0")
    });
    guest.order(&["start", DATABASE]);
    runs(&host, &guest, &watch, "0");
}

#[test]
fn unfilterable_interface_blocks_the_database_and_not_the_boot() {
    let host = InstalledHost::new();
    host.write_unit(&format!("{AGENT}.d/timeout.conf"), JOB_TIMEOUT);
    let foreign = Foreign::attach(&host.db, "eth1");
    let watch = host.watch();
    let guest = host.boot();
    stays_down(&guest, "1");
    assert_eq!(guest.property(AGENT, "ActiveState"), "activating");
    guest.wait_until("the agent reports the reason", || {
        guest.property(AGENT, "StatusText").contains("interface eth1: another XDP program")
    });
    foreign.detach();
    guest.wait_until("the agent is ready", || is_active(&guest, AGENT));
    guest.order(&["start", DATABASE]);
    runs(&host, &guest, &watch, "0");
}

/// Control of the two tests above.
#[test]
fn database_runs_on_an_open_host_without_the_drop_in() {
    let host = InstalledHost::new();
    host.remove_drop_in();
    host.write_unit(&format!("{AGENT}.d/timeout.conf"), JOB_TIMEOUT);
    let _foreign = Foreign::attach(&host.db, "eth1");
    let watch = host.watch();
    let guest = host.boot();
    guest.wait_until("the stranger gets in", || watch.entries() > 0);
    assert_eq!(guest.property(RESTORE, "ActiveState"), "failed");
}

/// Crashes and restarts; after each the host is filtered and the database runs.
///
/// # Errors
/// When the restore unit ran again.
fn live_through(host: &InstalledHost, guest: &Guest, watch: &Watch, restored: &str) -> Result<(), String> {
    let invocation = guest.property(RESTORE, "InvocationID");
    let steps: [(&str, &dyn Fn()); 6] = [
        ("crash of the database", &|| crash(guest, DATABASE)),
        ("restart of the database", &|| guest.order(&["restart", DATABASE])),
        ("restart of the agent", &|| guest.order(&["restart", AGENT])),
        ("restart of both", &|| guest.order(&["restart", DATABASE, AGENT])),
        ("crash of the agent", &|| crash(guest, AGENT)),
        ("crash of both", &|| {
            crash(guest, AGENT);
            crash(guest, DATABASE);
        }),
    ];
    for (step, perform) in steps {
        perform();
        runs(host, guest, watch, restored);
        guest.wait_until("the agent is ready", || is_active(guest, AGENT));
        if guest.property(RESTORE, "InvocationID") != invocation {
            return Err(format!("{step}: restore ran again"));
        }
    }
    // Stopping the restore unit would stop the database.
    let database = guest.main_process(DATABASE);
    for order in ["stop", "restart"] {
        let refused = guest.systemctl(&[order, RESTORE]);
        assert_ne!(refused.code, Some(0), "{refused:?}");
    }
    assert_eq!(guest.main_process(DATABASE), database);
    Ok(())
}

/// Kills a service's main process and waits until it has another one.
fn crash(guest: &Guest, unit: &str) {
    let before = guest.main_process(unit).unwrap();
    kill(before, Signal::SIGKILL).unwrap();
    guest.wait_until(&format!("{unit} is started again"), || {
        guest.main_process(unit).is_some_and(|pid| pid != before) && is_active(guest, unit)
    });
}

/// Requires that the database runs, and that the friend gets in and the stranger does not.
fn runs(host: &InstalledHost, guest: &Guest, watch: &Watch, restored: &str) {
    guest.wait_until("the database runs", || is_active(guest, DATABASE));
    guest.wait_until("the friend gets in", || host.friend_connects());
    watch.assert_no_connection();
    assert_eq!(guest.property(RESTORE, "ExecMainStatus"), restored, "{}", guest.log());
}

/// Requires that the boot is complete and the database was not started.
fn stays_down(guest: &Guest, restored: &str) {
    assert_eq!(guest.property(DATABASE, "ActiveState"), "inactive", "{}", guest.log());
    assert_eq!(guest.property(RESTORE, "ExecMainStatus"), restored, "{}", guest.log());
    assert_eq!(guest.property(RESTORE, "ActiveState"), "failed");
    assert!(guest.log().contains(&format!("Dependency failed for {DATABASE}")), "{}", guest.log());
}

fn is_active(guest: &Guest, unit: &str) -> bool {
    guest.property(unit, "ActiveState") == "active"
}

/// Adds a database that does not fit beside the first.
fn crowd(host: &InstalledHost) {
    let file = RuleFile::new("zz-crowd", 1).endpoint("30092");
    host.write_rules(&(0..20).fold(file, |file, n| file.allow(&format!("10.9.{n}.0/24"))));
    host.configure(INTERFACES, CROWDED);
}
