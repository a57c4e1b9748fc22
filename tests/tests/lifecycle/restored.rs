//! Exit codes of `restore`: they decide whether a database may start.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::boots::{change_config, reboot};
use crate::stage::{DATABASE, INTERFACE, Stage};
use crate::traffic::Traffic;

const FLOW: Duration = Duration::from_millis(300);

#[test]
fn restore_beside_a_running_agent_says_whether_that_one_filters() {
    let stage = Stage::with(&[INTERFACE, "late0"], "native");
    let mut agent = stage.start();
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    let filtered = stage.home.ask(&["restore"]).unwrap();
    assert_eq!(filtered.code, Some(0), "an interface that is not there needs no filter: {filtered:?}");
    assert!(filtered.out.contains(&format!("agent {} runs", agent.pid())), "{filtered:?}");

    // A hanging agent attaches nothing.
    let pid = Pid::from_raw(agent.pid().cast_signed());
    kill(pid, Signal::SIGSTOP).unwrap();
    stage.db.run("ip link add late0 type veth peer name late1").unwrap();
    let open = stage.home.ask(&["restore", "--wait", "300ms"]).unwrap();
    assert_eq!((open.code, open.out.as_str()), (Some(1), ""), "{open:?}");
    assert!(open.err.contains("interface late0: not filtered"), "{open:?}");
    kill(pid, Signal::SIGCONT).unwrap();
    let filtered = stage.home.ask(&["restore"]).unwrap();
    assert_eq!(filtered.code, Some(0), "it waits until the agent has attached: {filtered:?}");
}

#[test]
fn restore_tells_a_filtered_host_without_room_from_one_that_is_open() {
    let stage = Stage::new();
    let crowd: String =
        (0..20).map(|n| format!("  - {{id: c{n}, type: custom_range, cidr: 10.9.{n}.0/24}}\n")).collect();
    let other = format!(
        "schema_version: 1\ndatabase_id: zz-crowd\nrevision: 1\ngenerated_at: 2026-08-21T15:27:32Z\n\
         endpoints:\n  - {{port: 30093}}\nrules:\n{crowd}...\n"
    );
    stage.home.write_rules("zz-crowd.yaml", &other).unwrap();
    let mut agent = stage.start();
    agent.wait_for_revision(&stage.home, "zz-crowd", 1).unwrap();
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    agent.terminate().unwrap();
    reboot(&stage);
    change_config(&stage, "node_name", "max_prefixes: 10\nnode_name");
    let restored = stage.home.ask(&["restore"]).unwrap();
    assert_eq!(restored.code, Some(6), "{restored:?}");
    assert!(restored.out.contains("1 databases") && restored.out.contains(INTERFACE), "{restored:?}");
    assert!(restored.err.contains("not everything is in force: database zz-crowd: "), "{restored:?}");
    let count = Traffic::start(&stage).end_after(FLOW);
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
    assert!(count.rounds > 0, "{count:?}");

    // An unfiltered interface outweighs a missing database.
    reboot(&stage);
    change_config(&stage, INTERFACE, &format!("{INTERFACE}, late0"));
    let open = stage.home.ask(&["restore", "--wait", "100ms"]).unwrap();
    assert_eq!((open.code, open.out.as_str()), (Some(1), ""), "{open:?}");
    assert!(open.err.contains("interface late0: not found") && open.err.contains("zz-crowd"), "{open:?}");

    // Control: with room and the interface there is nothing to report.
    reboot(&stage);
    change_config(&stage, "max_prefixes: 10\n", "");
    change_config(&stage, ", late0", "");
    let whole = stage.home.ask(&["restore"]).unwrap();
    assert_eq!(whole.code, Some(0), "{whole:?}");
    assert!(whole.out.contains("2 databases"), "{whole:?}");
}

#[test]
fn restore_beside_an_agent_on_a_detached_host_succeeds_as_without_one() {
    let stage = Stage::new();
    let mut agent = stage.start();
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    let down = stage.home.ask(&["detach", "--yes"]).unwrap();
    assert_eq!(down.code, Some(0), "{down:?}");
    let beside = stage.home.ask(&["restore"]).unwrap();
    agent.terminate().unwrap();
    let alone = stage.home.ask(&["restore"]).unwrap();
    for restored in [beside, alone] {
        assert_eq!(restored.code, Some(0), "{restored:?}");
        assert!(restored.out.contains("detached by an operator"), "{restored:?}");
    }
}
