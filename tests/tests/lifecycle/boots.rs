//! The first minutes of a host that was booted: bpffs is empty, and not everything is as it was.

use std::fs;
use std::time::Duration;

use crate::stage::{DATABASE, INTERFACE, RULE_FILE, Stage, rule_file};
use crate::traffic::Traffic;

const FLOW: Duration = Duration::from_millis(300);

#[test]
fn what_was_stored_counts_whatever_the_host_is_called_at_boot() {
    let stage = Stage::new();
    let ours = rule_file(2).replace("revision", &format!("host: {}\nrevision", stage.db.name()));
    stage.home.write_rules(RULE_FILE, &ours).unwrap();
    let mut agent = stage.start();
    agent.wait_for_revision(&stage.home, DATABASE, 2).unwrap();
    agent.terminate().unwrap();
    reboot(&stage);
    change_config(&stage, &format!("node_name: {}", stage.db.name()), "node_name: localhost");
    let restored = stage.home.ask(&["restore"]).unwrap();
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert!(restored.out.contains("1 databases") && restored.out.contains(INTERFACE), "{restored:?}");
    let count = Traffic::start(&stage).end_after(FLOW);
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
    assert!(count.rounds > 0, "{count:?}");
    // The control: what is pushed under that name is not for this host.
    assert!(restored.err.contains("file is for another host, this is"), "{restored:?}");
}

#[test]
fn restore_fails_when_something_that_was_stored_is_not_used() {
    let stage = Stage::new();
    let mut agent = stage.start();
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    agent.terminate().unwrap();
    stage.home.remove_rules(RULE_FILE).unwrap();
    reboot(&stage);
    let stored = stage.dir().join("state/last-good").join(format!("database-{DATABASE}"));
    let whole = fs::read(&stored).unwrap();
    fs::write(&stored, &whole[..whole.len() / 2]).unwrap();
    let restored = stage.home.ask(&["restore"]).unwrap();
    assert_eq!(restored.code, Some(1), "{restored:?}");
    assert!(restored.err.contains(&stored.display().to_string()), "{restored:?}");
    let count = Traffic::start(&stage).end_after(FLOW);
    assert_eq!((count.leaked, count.rounds > 0), (0, true), "what can be closed is: {count:?}");
}

/// Empties bpffs; the agent must not run.
fn reboot(stage: &Stage) {
    for pins in fs::read_dir(stage.home.pins()).unwrap() {
        fs::remove_dir_all(pins.unwrap().path()).unwrap();
    }
}

fn change_config(stage: &Stage, from: &str, to: &str) {
    let text = fs::read_to_string(stage.home.config()).unwrap();
    assert!(text.contains(from), "{from}: {text}");
    fs::write(stage.home.config(), text.replace(from, to)).unwrap();
}
