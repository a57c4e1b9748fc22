//! A failed start after a boot.

use std::fs;
use std::path::Path;

use redb::{Database, TableDefinition};

use crate::stage::{ALLOWED, E1, E2, GUARDED, STRANGER, Stage, rules};

const COMMANDS: [&[&str]; 2] = [&["restore", "--wait", "100ms"], &["run"]];

#[test]
fn a_store_of_an_unknown_format_closes_guarded_ports() {
    let stage = with_tombstone();
    stage.stop();
    let store = stage.state_dir().join("state.redb");
    for command in COMMANDS {
        let kept = fs::read(&store).unwrap();
        set_version(&store, 2);
        stage.reboot();
        let failed = stage.home.ask(command).unwrap();
        assert_eq!(failed.code, Some(1), "{failed:?}");
        assert!(failed.err.contains("format version 2"), "{failed:?}");
        assert!(failed.err.contains("closed: eth0: guarded ports [5432]"), "{failed:?}");
        for source in [ALLOWED, STRANGER] {
            stage.refuses(source, GUARDED);
        }
        // The store is unchanged, and an agent that supports its format starts from it.
        fs::write(&store, kept).unwrap();
        stage.run();
        stage.until_applied("a", 2);
        stage.sees(&[E2], &[E1]);
        stage.stop();
    }
}

#[test]
fn a_start_that_fails_with_a_readable_store_closes_what_was_claimed() {
    let stage = with_tombstone();
    stage.stop();
    for command in COMMANDS {
        stage.reboot();
        let lock = stage.state_dir().join("agent.lock");
        let _ = fs::remove_file(&lock);
        fs::create_dir(&lock).unwrap();
        let failed = stage.home.ask(command).unwrap();
        assert_eq!(failed.code, Some(1), "{failed:?}");
        assert!(failed.err.contains("guarded ports [5432] and 2 claimed destinations"), "{failed:?}");
        stage.sees(&[], &[E1, E2]);
        fs::remove_dir(&lock).unwrap();
        stage.beside_strangers(|| stage.run());
        stage.until_sees(&[E2], &[E1]);
        stage.stop();
        stage.boot(0, &[E2], &[E1]);
        stage.stop();
    }
}

/// Returns a stage on which the second revision has dropped E1.
fn with_tombstone() -> Stage {
    let stage = Stage::new("");
    stage.push(&rules(1, &[E1, E2], &[ALLOWED]));
    stage.run();
    stage.until_applied("a", 1);
    stage.sees(&[E1, E2], &[]);
    stage.push(&rules(2, &[E2], &[ALLOWED]));
    stage.until_sees(&[E2], &[E1]);
    stage
}

fn set_version(store: &Path, version: u64) {
    let database = Database::create(store).unwrap();
    let transaction = database.begin_write().unwrap();
    let format: TableDefinition<'_, &str, u64> = TableDefinition::new("format");
    transaction.open_table(format).unwrap().insert("version", version).unwrap();
    transaction.commit().unwrap();
}
