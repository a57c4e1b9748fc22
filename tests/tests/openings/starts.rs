//! A failed start after a boot.

use std::fs;
use std::path::Path;

use redb::{Database, TableDefinition};

use firewall_tests::lab::TestHost;

use crate::setup::{ALLOWED, Connections as _, E1, E2, STRANGER, rules, unfiltered};

const COMMANDS: [&[&str]; 2] = [&["restore", "--wait", "100ms"], &["run"]];

#[test]
fn store_of_unknown_format_closes_guarded_ports_and_its_claims() {
    let host = with_tombstone();
    host.stop();
    let store = host.state_dir().join("state.redb");
    for command in COMMANDS {
        let before = fs::read(&store).unwrap();
        set_version(&store, 2);
        host.reboot();
        let failed = host.ask(command);
        assert_eq!(failed.code, Some(1), "{failed:?}");
        assert!(failed.err.contains("format version 2"), "{failed:?}");
        let closed = "closed: eth0: guarded ports [5432] and 2 claimed destinations";
        assert!(failed.err.contains(closed), "{failed:?}");
        host.sees(&[], &[E1, E2]);
        // The store is unchanged, and an agent that supports its format starts from it.
        fs::write(&store, before).unwrap();
        host.run();
        host.until_applied("a", 2);
        host.sees(&[E2], &[E1]);
        host.stop();
    }
}

#[test]
fn failed_start_with_readable_store_closes_claimed_destinations() {
    let host = with_tombstone();
    host.stop();
    for command in COMMANDS {
        host.reboot();
        let lock = host.state_dir().join("agent.lock");
        let _ = fs::remove_file(&lock);
        fs::create_dir(&lock).unwrap();
        let failed = host.ask(command);
        assert_eq!(failed.code, Some(1), "{failed:?}");
        assert!(failed.err.contains("guarded ports [5432] and 2 claimed destinations"), "{failed:?}");
        host.sees(&[], &[E1, E2]);
        fs::remove_dir(&lock).unwrap();
        host.beside_strangers(|| host.run());
        host.until_sees(&[E2], &[E1]);
        host.stop();
        host.boot(0, &[E2], &[E1]);
        host.stop();
    }
}

#[test]
fn failed_start_without_a_store_closes_the_destinations_of_rule_files() {
    let host = unfiltered("");
    host.push(&rules(1, &[E1], &[ALLOWED]));
    fs::create_dir(host.state_dir().join("agent.lock")).unwrap();
    for command in COMMANDS {
        let failed = host.ask(command);
        assert_eq!(failed.code, Some(1), "{failed:?}");
        assert!(failed.err.contains("guarded ports [5432] and 1 claimed destinations"), "{failed:?}");
        host.sees(&[], &[E1]);
        // The control: no file claims it.
        host.lets_in(STRANGER, E2);
        host.reboot();
    }
}

/// Returns a host on which the second revision has dropped E1.
fn with_tombstone() -> TestHost {
    let host = unfiltered("");
    host.push(&rules(1, &[E1, E2], &[ALLOWED]));
    host.run();
    host.until_applied("a", 1);
    host.sees(&[E1, E2], &[]);
    host.push(&rules(2, &[E2], &[ALLOWED]));
    host.until_sees(&[E2], &[E1]);
    host
}

fn set_version(store: &Path, version: u64) {
    let database = Database::create(store).unwrap();
    let transaction = database.begin_write().unwrap();
    let format: TableDefinition<'_, &str, u64> = TableDefinition::new("format");
    transaction.open_table(format).unwrap().insert("version", version).unwrap();
    transaction.commit().unwrap();
}
