//! The first minutes after a boot: bpffs is empty, and other conditions have changed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::time::Duration;

use firewall_agent::files::store::{LastGoodStore, StateFile};
use firewall_agent::sync::{Changes, Record, StoredFile};
use firewall_tests::lab::eventually;

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
    // Control: files pushed under that name are not for this host.
    assert!(restored.err.contains("file is for another host, this is"), "{restored:?}");
}

#[test]
fn restore_says_when_something_that_was_stored_is_not_used() {
    let stage = Stage::new();
    let mut agent = stage.start();
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    agent.terminate().unwrap();
    stage.home.remove_rules(RULE_FILE).unwrap();
    reboot(&stage);
    let file = StoredFile { path: "/rules.d/a.yaml".into(), signature: None, content: b"half"[..].into() };
    let mut changes = Changes::default();
    changes.put(Record::File(DATABASE.parse().unwrap(), file));
    let state_dir = stage.dir().join("state");
    LastGoodStore::new(StateFile::new(&state_dir)).commit(&changes).unwrap();
    let owner = fs::metadata(&state_dir).unwrap();
    chown(state_dir.join("state.redb"), Some(owner.uid()), Some(owner.gid())).unwrap();
    let restored = stage.home.ask(&["restore"]).unwrap();
    assert_eq!(restored.code, Some(6), "{restored:?}");
    let said = format!("stored file of database {DATABASE}: ");
    assert!(restored.err.contains(&said), "{restored:?}");
    let count = Traffic::start(&stage).end_after(FLOW);
    assert_eq!((count.leaked, count.rounds > 0), (0, true), "what can be closed is: {count:?}");
}

#[test]
fn a_start_that_fails_after_a_boot_closes_what_is_guarded_and_the_next_one_takes_over() {
    let stage = Stage::new();
    let mut agent = stage.start();
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    agent.terminate().unwrap();
    for (what, spoil) in FAULTS {
        for command in [["restore", "--wait", "100ms"].as_slice(), &["run"]] {
            reboot(&stage);
            assert!(leaks(&stage), "the control: a boot opens the host");
            let mend = spoil(&stage);
            let failed = stage.home.ask(command).unwrap();
            assert_eq!(failed.code, Some(1), "{what}: {failed:?}");
            let closed = format!("error: closed: {INTERFACE}: guarded ports [5432, 30000-32767]");
            assert!(!leaks(&stage), "{what}: {failed:?}");
            assert!(failed.err.contains(&closed), "{what}: {failed:?}");
            let again = stage.home.ask(command).unwrap();
            assert!(again.code == Some(1) && !again.err.contains("closed"), "it filters already: {again:?}");
            mend(&stage);
        }
        let mut agent = stage.start();
        agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
        agent.wait_until("it is ready", || stage.status()["ready"] == true).unwrap();
        let count = Traffic::start(&stage).end_after(FLOW);
        assert_eq!((count.leaked, count.lost), (0, 0), "{what}: {count:?}");
        agent.terminate().unwrap();
    }
}

#[test]
fn a_start_that_fails_touches_nothing_that_filters() {
    let stage = Stage::new();
    let mut agent = stage.start();
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    agent.terminate().unwrap();
    for (what, spoil) in FAULTS {
        let mend = spoil(&stage);
        let failed = stage.home.ask(&["restore"]).unwrap();
        assert!(failed.code == Some(1) && !failed.err.contains("closed"), "{what}: {failed:?}");
        let count = Traffic::start(&stage).end_after(FLOW);
        assert_eq!((count.leaked, count.lost), (0, 0), "{what}: {count:?}");
        mend(&stage);
    }
}

#[test]
fn a_start_that_fails_closes_nothing_that_an_operator_opened() {
    let stage = Stage::new();
    let mut agent = stage.start();
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    let down = stage.home.ask(&["detach", "--yes"]).unwrap();
    assert_eq!(down.code, Some(0), "{down:?}");
    let second = stage.home.ask(&["restore"]).unwrap();
    assert!(second.code == Some(0) && second.out.contains("detached"), "{second:?}");
    assert!(leaks(&stage), "another agent is in charge: {second:?}");
    agent.terminate().unwrap();
    let mend = take_lock(&stage);
    let failed = stage.home.ask(&["restore"]).unwrap();
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(leaks(&stage), "it is to stay down: {failed:?}");
    mend(&stage);
}

type Mend = fn(&Stage);
type Spoil = fn(&Stage) -> Mend;
const FAULTS: [(&str, Spoil); 3] = [
    ("the state directory is another's", lock_out),
    ("the store is damaged", damage_store),
    ("the lock is no file", take_lock),
];

fn lock_out(stage: &Stage) -> Mend {
    fs::set_permissions(stage.dir().join("state"), Permissions::from_mode(0o000)).unwrap();
    |stage| fs::set_permissions(stage.dir().join("state"), Permissions::from_mode(0o700)).unwrap()
}

fn damage_store(stage: &Stage) -> Mend {
    let store = stage.dir().join("state/state.redb");
    fs::rename(&store, store.with_extension("kept")).unwrap();
    fs::write(&store, [0x5a; 8192]).unwrap();
    |stage| {
        let store = stage.dir().join("state/state.redb");
        fs::rename(store.with_extension("kept"), store).unwrap();
    }
}

/// Makes the lock unavailable: the store is readable, but no agent can own it.
fn take_lock(stage: &Stage) -> Mend {
    let lock = stage.dir().join("state/agent.lock");
    // The next owner creates it again.
    let _ = fs::remove_file(&lock);
    fs::create_dir(lock).unwrap();
    |stage| fs::remove_dir(stage.dir().join("state/agent.lock")).unwrap()
}

fn leaks(stage: &Stage) -> bool {
    let count = Traffic::start(stage).end_after(FLOW);
    assert!(count.rounds > 0, "{count:?}");
    count.leaked > 0
}

/// Empties bpffs and waits until the kernel has removed the links; the agent must not run.
pub fn reboot(stage: &Stage) {
    for pins in fs::read_dir(stage.home.pins()).unwrap() {
        fs::remove_dir_all(pins.unwrap().path()).unwrap();
    }
    let filters =
        || stage.db.run(&format!("ip -details link show {INTERFACE}")).unwrap().contains("prog/xdp");
    eventually(Duration::from_secs(20), "nothing filters", || (!filters()).then_some(())).unwrap();
}

pub fn change_config(stage: &Stage, from: &str, to: &str) {
    let text = fs::read_to_string(stage.home.config()).unwrap();
    assert!(text.contains(from), "{from}: {text}");
    fs::write(stage.home.config(), text.replace(from, to)).unwrap();
}
