//! `detach` and `attach` by an operator, and `restore` before the daemon runs.

use std::fs;
use std::time::Duration;

use firewall_tests::lab::{INTERFACE, TestHost, User, eventually};

use crate::setup::{DATABASE, PORT, SERVERS, builder, hosts};
use crate::traffic::Traffic;

const FLOW: Duration = Duration::from_millis(300);

#[test]
fn detach_removes_everything_until_attach() {
    let host = hosts();
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    let unsure = host.ask(&["detach"]);
    assert_eq!(unsure.code, Some(2), "{unsure:?}");
    assert_eq!(leaks(&host), 0, "without --yes nothing happens");

    let down = host.ask(&["detach", "--yes"]);
    assert_eq!(down.code, Some(0), "{down:?}");
    for open in [INTERFACE, &format!("{}:{PORT}/udp", SERVERS[0]), "5432"] {
        assert!(down.out.contains(open), "{open}: {down:?}");
    }
    until_open(&host, "the daemon runs, and everything is open");
    agent.wait_until("it is not ready", || host.status()["ready"] == false).unwrap();
    assert!(host.status()["not_ready"].to_string().contains("detached by an operator"));
    std::thread::sleep(Duration::from_secs(2));
    until_open(&host, "it is not repaired");
    agent.kill().unwrap();
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    until_open(&host, "a restart leaves it down");
    agent.terminate().unwrap();
    let restored = host.ask(&["restore", "--wait", "1s"]);
    assert!(restored.out.contains("nothing is attached"), "{restored:?}");
    until_open(&host, "the host is open");

    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    let up = host.ask(&["attach"]);
    assert_eq!(up.code, Some(0), "{up:?}");
    assert_eq!(leaks(&host), 0);
    agent.wait_until("it is ready", || host.status()["ready"] == true).unwrap();
}

/// The daemon holds the links open.
#[test]
fn detach_includes_links_whose_pins_are_gone() {
    let host = hosts();
    // No drift check makes the pins again in between.
    host.start_with(&["--socket-filter", "enforce", "--drift-interval", "10m"]);
    host.until("both attached", |status| {
        status["ready"] == true && status["socket_filter"]["mode"] == "enforce"
    });
    let links = host.home.pins().join("links");
    for link in fs::read_dir(&links).unwrap() {
        fs::remove_file(link.unwrap().path()).unwrap();
    }
    let down = host.ask(&["detach", "--yes"]);
    assert_eq!(down.code, Some(0), "{down:?}");
    until_open(&host, "the host is open");
    host.until("no socket filter", |status| status["socket_filter"]["mode"] == "none");
}

#[test]
fn detach_and_attach_need_no_daemon() {
    let host = hosts();
    host.start_agent().terminate().unwrap();
    assert_eq!(leaks(&host), 0);
    let down = host.ask(&["detach", "--yes"]);
    assert_eq!(down.code, Some(0), "{down:?}");
    until_open(&host, "the host is open");
    let up = host.ask(&["attach"]);
    assert_eq!(up.code, Some(0), "{up:?}");
    assert_eq!(leaks(&host), 0);
}

#[test]
fn restore_applies_the_last_good_state_without_rule_files() {
    let host = hosts();
    host.start_agent().terminate().unwrap();
    let before = host.status()["databases"][0]["digest"].clone();
    fs::remove_dir_all(host.dir().join("rules.d")).unwrap();
    for pins in fs::read_dir(host.home.pins()).unwrap() {
        fs::remove_dir_all(pins.unwrap().path()).unwrap();
    }
    until_open(&host, "the control: a reboot opens the host");
    let restored = host.ask(&["restore"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert!(restored.out.contains("1 databases") && restored.out.contains(INTERFACE), "{restored:?}");
    assert_eq!(leaks(&host), 0);
    assert_eq!(host.status()["databases"][0]["digest"], before);
}

#[test]
fn restore_without_state_closes_guarded_ports_and_names_interface() {
    let host = builder().interfaces(&[INTERFACE, "late0"]).build();
    fs::remove_dir_all(host.dir().join("rules.d")).unwrap();
    let listener = host.db.listen(("::", PORT)).unwrap();
    let connects = || host.outside.connect((SERVERS[0], PORT), FLOW).is_ok();
    assert!(connects(), "the control");
    let restored = host.ask(&["restore", "--wait", "300ms"]);
    assert_eq!(restored.code, Some(1), "{restored:?}");
    assert!(restored.err.contains("interface late0: not found"), "{restored:?}");
    assert!(!connects(), "{restored:?}");
    drop(listener);
}

/// A container's own bpffs ends with the container, and so does the firewall.
#[test]
fn container_private_bpffs_is_refused_and_host_directory_accepted() {
    let host = hosts();
    let run = |setup: &str| {
        let agent = host.dir().join("firewall-agent");
        let script = format!(
            "{setup} && chown {id} /sys/fs/bpf && setpriv --reuid {id} --clear-groups --inh-caps {caps} \
             --ambient-caps {caps} --bounding-set {caps} -- {} restore --wait 100ms --config {}",
            agent.display(),
            host.home.config().display(),
            id = User::Unprivileged.id(),
            caps = "-all,+bpf,+net_admin,+perfmon",
        );
        let mut unshare = host.db.command("unshare");
        unshare.args(["--pid", "--fork", "--mount", "--mount-proc", "sh", "-c", &script]).output().unwrap()
    };
    let pins = host.home.pins().display().to_string();
    let own = run(&format!(
        "mount -t bpf bpf /sys/fs/bpf && mkdir {pins} && chown {} {pins}",
        User::Unprivileged.id()
    ));
    let stderr = String::from_utf8_lossy(&own.stderr).into_owned();
    assert_eq!(own.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("on a bpffs of this container"), "{stderr}");
    let owned = run("true");
    assert!(owned.status.success(), "{owned:?}");
}

/// Waits until the denied source gets through: the kernel ends a link some time after its last pin.
fn until_open(host: &TestHost, what: &str) {
    eventually(Duration::from_secs(20), what, || (leaks(host) > 0).then_some(())).unwrap();
}

fn leaks(host: &TestHost) -> u64 {
    let count = Traffic::start(host).end_after(FLOW);
    assert!(count.rounds > 0, "{count:?}");
    count.leaked
}
