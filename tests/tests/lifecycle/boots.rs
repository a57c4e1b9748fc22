//! The first minutes after a boot: bpffs is empty, and other conditions have changed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::time::Duration;

use firewall_agent::files::store::{LastGoodStore, StateFile};
use firewall_agent::sync::{Changes, Record, StoredFile};
use firewall_tests::lab::{INTERFACE, TestHost, eventually};

use crate::setup::{DATABASE, RULE_FILE, hosts, rule_file};
use crate::traffic::Traffic;

const FLOW: Duration = Duration::from_millis(300);

#[test]
fn stored_files_apply_after_boot_under_another_host_name() {
    let host = hosts();
    let ours = rule_file(2).replace("revision", &format!("host: {}\nrevision", host.db.name()));
    host.home.write_rules(RULE_FILE, &ours).unwrap();
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 2).unwrap();
    agent.terminate().unwrap();
    reboot(&host);
    host.change_config(&format!("node_name: {}", host.db.name()), "node_name: localhost");
    let restored = host.ask(&["restore"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert!(restored.out.contains("1 databases") && restored.out.contains(INTERFACE), "{restored:?}");
    let count = Traffic::start(&host).end_after(FLOW);
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
    assert!(count.rounds > 0, "{count:?}");
    // Control: files pushed under that name are not for this host.
    assert!(restored.err.contains("file is for another host, this is"), "{restored:?}");
}

#[test]
fn restore_reports_unused_stored_files() {
    let host = hosts();
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    agent.terminate().unwrap();
    host.home.remove_rules(RULE_FILE).unwrap();
    reboot(&host);
    let file = StoredFile { path: "/rules.d/a.yaml".into(), signature: None, content: b"half"[..].into() };
    let mut changes = Changes::default();
    changes.put(Record::File(DATABASE.parse().unwrap(), file));
    let state_dir = host.dir().join("state");
    LastGoodStore::new(StateFile::new(&state_dir)).commit(&changes).unwrap();
    let owner = fs::metadata(&state_dir).unwrap();
    chown(state_dir.join("state.redb"), Some(owner.uid()), Some(owner.gid())).unwrap();
    let restored = host.ask(&["restore"]);
    assert_eq!(restored.code, Some(6), "{restored:?}");
    let message = format!("stored file of database {DATABASE}: ");
    assert!(restored.err.contains(&message), "{restored:?}");
    let count = Traffic::start(&host).end_after(FLOW);
    assert_eq!((count.leaked, count.rounds > 0), (0, true), "what can be closed is: {count:?}");
}

#[test]
fn failed_start_after_boot_closes_guarded_ports_until_the_next_start() {
    let host = hosts();
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    agent.terminate().unwrap();
    for (what, spoil) in FAULTS {
        for command in [["restore", "--wait", "100ms"].as_slice(), &["run"]] {
            reboot(&host);
            assert!(leaks(&host), "the control: a boot opens the host");
            let mend = spoil(&host);
            let failed = host.ask(command);
            assert_eq!(failed.code, Some(1), "{what}: {failed:?}");
            let closed = format!("error: closed: {INTERFACE}: guarded ports [5432, 30000-32767]");
            assert!(!leaks(&host), "{what}: {failed:?}");
            assert!(failed.err.contains(&closed), "{what}: {failed:?}");
            let again = host.ask(command);
            assert!(again.code == Some(1) && !again.err.contains("closed"), "it filters already: {again:?}");
            mend(&host);
        }
        let mut agent = host.start_agent();
        agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
        agent.wait_until("it is ready", || host.status()["ready"] == true).unwrap();
        let count = Traffic::start(&host).end_after(FLOW);
        assert_eq!((count.leaked, count.lost), (0, 0), "{what}: {count:?}");
        agent.terminate().unwrap();
    }
}

#[test]
fn failed_start_does_not_change_a_running_filter() {
    let host = hosts();
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    agent.terminate().unwrap();
    for (what, spoil) in FAULTS {
        let mend = spoil(&host);
        let failed = host.ask(&["restore"]);
        assert!(failed.code == Some(1) && !failed.err.contains("closed"), "{what}: {failed:?}");
        let count = Traffic::start(&host).end_after(FLOW);
        assert_eq!((count.leaked, count.lost), (0, 0), "{what}: {count:?}");
        mend(&host);
    }
}

#[test]
fn failed_start_closes_nothing_on_a_detached_host() {
    let host = hosts();
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    let down = host.ask(&["detach", "--yes"]);
    assert_eq!(down.code, Some(0), "{down:?}");
    let second = host.ask(&["restore"]);
    assert!(second.code == Some(0) && second.out.contains("detached"), "{second:?}");
    assert!(leaks(&host), "another agent is in charge: {second:?}");
    agent.terminate().unwrap();
    let mend = take_lock(&host);
    let failed = host.ask(&["restore"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(leaks(&host), "it is to stay down: {failed:?}");
    mend(&host);
}

type Mend = fn(&TestHost);
type Spoil = fn(&TestHost) -> Mend;
const FAULTS: [(&str, Spoil); 3] = [
    ("the state directory is another's", lock_out),
    ("the store is damaged", damage_store),
    ("the lock is no file", take_lock),
];

fn lock_out(host: &TestHost) -> Mend {
    fs::set_permissions(host.dir().join("state"), Permissions::from_mode(0o000)).unwrap();
    |host| fs::set_permissions(host.dir().join("state"), Permissions::from_mode(0o700)).unwrap()
}

fn damage_store(host: &TestHost) -> Mend {
    let store = host.dir().join("state/state.redb");
    fs::rename(&store, store.with_extension("moved")).unwrap();
    fs::write(&store, [0x5a; 8192]).unwrap();
    |host| {
        let store = host.dir().join("state/state.redb");
        fs::rename(store.with_extension("moved"), store).unwrap();
    }
}

/// Makes the lock unavailable: the store is readable, but no agent can own it.
fn take_lock(host: &TestHost) -> Mend {
    let lock = host.dir().join("state/agent.lock");
    // The next owner creates it again.
    let _ = fs::remove_file(&lock);
    fs::create_dir(lock).unwrap();
    |host| fs::remove_dir(host.dir().join("state/agent.lock")).unwrap()
}

fn leaks(host: &TestHost) -> bool {
    let count = Traffic::start(host).end_after(FLOW);
    assert!(count.rounds > 0, "{count:?}");
    count.leaked > 0
}

/// Empties bpffs and waits until the kernel has removed the links; the agent must not run.
pub fn reboot(host: &TestHost) {
    host.remove_pins();
    let filters = || host.db.run(&format!("ip -details link show {INTERFACE}")).unwrap().contains("prog/xdp");
    eventually(Duration::from_secs(20), "nothing filters", || (!filters()).then_some(())).unwrap();
}
