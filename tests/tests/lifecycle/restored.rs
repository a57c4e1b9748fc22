//! Exit codes of `restore`: they decide whether a database may start.

use std::time::Duration;

use firewall_tests::lab::{INTERFACE, RuleFile};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::boots::reboot;

use crate::setup::{DATABASE, builder, hosts};
use crate::traffic::Traffic;

const FLOW: Duration = Duration::from_millis(300);

#[test]
fn restore_beside_an_agent_reports_whether_it_filters() {
    let host = builder().interfaces(&[INTERFACE, "late0"]).build();
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    let filtered = host.ask(&["restore"]);
    assert_eq!(filtered.code, Some(0), "an interface that is not there needs no filter: {filtered:?}");
    assert!(filtered.out.contains(&format!("agent {} runs", agent.pid())), "{filtered:?}");

    // A hanging agent attaches nothing.
    let pid = Pid::from_raw(agent.pid().cast_signed());
    kill(pid, Signal::SIGSTOP).unwrap();
    host.db.run("ip link add late0 type veth peer name late1").unwrap();
    let open = host.ask(&["restore", "--wait", "300ms"]);
    assert_eq!((open.code, open.out.as_str()), (Some(1), ""), "{open:?}");
    assert!(open.err.contains("interface late0: not filtered"), "{open:?}");
    kill(pid, Signal::SIGCONT).unwrap();
    let filtered = host.ask(&["restore"]);
    assert_eq!(filtered.code, Some(0), "it waits until the agent has attached: {filtered:?}");
}

#[test]
fn restore_distinguishes_a_full_filtered_host_from_an_open_one() {
    let host = hosts();
    let crowd = RuleFile::new("zz-crowd", 1).endpoint("30093");
    host.push(&(0..20).fold(crowd, |file, n| file.allow(&format!("10.9.{n}.0/24"))));
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, "zz-crowd", 1).unwrap();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    agent.terminate().unwrap();
    reboot(&host);
    host.change_config("node_name", "max_prefixes: 10\nnode_name");
    let restored = host.ask(&["restore"]);
    assert_eq!(restored.code, Some(6), "{restored:?}");
    assert!(restored.out.contains("1 databases") && restored.out.contains(INTERFACE), "{restored:?}");
    assert!(restored.err.contains("not everything is in force: database zz-crowd: "), "{restored:?}");
    let count = Traffic::start(&host).end_after(FLOW);
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
    assert!(count.rounds > 0, "{count:?}");

    // An unfiltered interface outweighs a missing database.
    reboot(&host);
    host.change_config(INTERFACE, &format!("{INTERFACE}, late0"));
    let open = host.ask(&["restore", "--wait", "100ms"]);
    assert_eq!((open.code, open.out.as_str()), (Some(1), ""), "{open:?}");
    assert!(open.err.contains("interface late0: not found") && open.err.contains("zz-crowd"), "{open:?}");

    // Control: with room and the interface there is nothing to report.
    reboot(&host);
    host.change_config("max_prefixes: 10\n", "");
    host.change_config(", late0", "");
    let whole = host.ask(&["restore"]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    assert!(whole.out.contains("2 databases"), "{whole:?}");
}

#[test]
fn restore_on_a_detached_host_succeeds_also_beside_an_agent() {
    let host = hosts();
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    let down = host.ask(&["detach", "--yes"]);
    assert_eq!(down.code, Some(0), "{down:?}");
    let beside = host.ask(&["restore"]);
    agent.terminate().unwrap();
    let alone = host.ask(&["restore"]);
    for restored in [beside, alone] {
        assert_eq!(restored.code, Some(0), "{restored:?}");
        assert!(restored.out.contains("detached by an operator"), "{restored:?}");
    }
}
