//! Revisions, removed files, and the commands for them.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::stage::{IN_OFFICE, IN_SHOP, OFFICE, PORT, SHOP, Stage, file, one, removed};

#[test]
fn a_lower_revision_and_one_with_other_contents_are_refused_also_after_a_restart() {
    let mut stage = Stage::new();
    stage.write("a.yaml", &file("a", 5, "192.0.2.1", &[OFFICE]));
    let generation = one(&stage.until_revision("a", 5), "a")["generation"].clone();
    for restart in [false, true] {
        stage.write("a.yaml", &file("a", 4, "192.0.2.1", &[SHOP]));
        stage.until_refused("stale_revision");
        stage.until_state("a", "rejected");
        if restart {
            stage.kill();
            stage.start();
            stage.until_state("a", "rejected");
        }
        stage.write("a.yaml", &file("a", 5, "192.0.2.1", &[SHOP]));
        stage.until_refused("revision_conflict");
        assert_eq!(stage.reason(IN_SHOP, "a"), "no_match");
        // The same file again changes nothing.
        stage.write("a.yaml", &file("a", 5, "192.0.2.1", &[OFFICE]));
        let status = stage.until_state("a", "applied");
        assert_eq!(one(&status, "a")["generation"], generation);
    }
}

#[test]
fn rebase_admits_a_lower_revision_once_and_leaves_the_rules_alone() {
    let stage = Stage::new();
    stage.write("a.yaml", &file("a", 5, "192.0.2.1", &[OFFICE]));
    stage.until_revision("a", 5);
    assert_eq!(stage.ask(&["rebase", "a"]).code, Some(0));
    assert_eq!(stage.reason(IN_OFFICE, "a"), "allowed");
    stage.write("a.yaml", &file("a", 1, "192.0.2.1", &[SHOP]));
    stage.until_revision("a", 1);
    assert_eq!(stage.reason(IN_SHOP, "a"), "allowed");
    stage.write("b.yaml", &file("a", 0, "192.0.2.1", &[SHOP]).replace("revision: 0", "revision: 1"));
    stage.write("a.yaml", &file("a", 6, "192.0.2.1", &[OFFICE]));
    stage.until_revision("a", 6);
    assert_eq!(stage.ask(&["rebase", "nobody"]).code, Some(1));
    assert_eq!(stage.ask(&["rebase", "not an id"]).code, Some(2));
}

/// The revision in force before the rebase is no floor any more, even after a restart.
#[test]
fn after_a_rebase_a_restart_takes_the_next_revision_and_not_only_one_beyond_the_old() {
    let mut stage = Stage::new();
    stage.write("a.yaml", &file("a", 42, "192.0.2.1", &[OFFICE]));
    stage.until_revision("a", 42);
    assert_eq!(stage.ask(&["rebase", "a"]).code, Some(0));
    stage.write("a.yaml", &file("a", 10, "192.0.2.1", &[OFFICE]));
    stage.until_revision("a", 10);
    for revision in [11, 12] {
        stage.kill();
        stage.start();
        let rule = if revision == 11 { SHOP } else { OFFICE };
        stage.write("a.yaml", &file("a", revision, "192.0.2.1", &[rule]));
        stage.until_revision("a", revision);
        assert_eq!(stage.reason(IN_SHOP, "a") == "allowed", revision == 11);
    }
    stage.write("a.yaml", &file("a", 9, "192.0.2.1", &[SHOP]));
    stage.until_refused("stale_revision");
}

#[test]
fn of_two_files_of_a_database_the_higher_revision_counts() {
    let stage = Stage::new();
    stage.write("a.yaml", &file("a", 5, "192.0.2.1", &[OFFICE]));
    stage.until_revision("a", 5);
    stage.write("b.yaml", &file("a", 6, "192.0.2.1", &[SHOP]));
    let status = stage.until_revision("a", 6);
    assert_eq!(one(&status, "a")["state"], "applied", "the older file beside it does no harm");
    stage.write("c.yaml", &file("a", 6, "192.0.2.1", &[OFFICE]));
    stage.until_refused("revision_conflict");
    assert_eq!(stage.reason(IN_SHOP, "a"), "allowed");
    assert_eq!(stage.reason(IN_OFFICE, "a"), "no_match");
}

#[test]
fn absence_is_never_an_instruction_and_forget_is() {
    let mut stage = Stage::new();
    stage.write("a.yaml", &file("a", 1, "192.0.2.1", &[OFFICE]));
    stage.until_revision("a", 1);
    let refused = stage.ask(&["forget", "a"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("its rule file exists"), "{refused:?}");
    fs::remove_file(stage.home.rule_file("a.yaml")).unwrap();
    stage.until_state("a", "orphaned");
    assert_eq!(stage.reason(IN_OFFICE, "a"), "allowed");

    assert_eq!(stage.ask(&["forget", "a"]).code, Some(0));
    let place = format!("192.0.2.1:{PORT}");
    assert_eq!(stage.reason(IN_OFFICE, &place), "closed");
    stage.stop();
    // Without a daemon the command takes the lock itself.
    let opened = stage.ask(&["forget", "a", "--open"]);
    assert_eq!(opened.code, Some(0), "{opened:?}");
    assert!(opened.out.contains(&place), "{opened:?}");
    assert_eq!(stage.reason(IN_OFFICE, &place), "closed", "the port is guarded besides");
    assert_eq!(stage.ask(&["forget", "a"]).code, Some(1), "not known any more");
}

#[test]
fn what_leaves_stays_closed_until_it_is_claimed_again_also_after_a_reboot() {
    let mut stage = Stage::new();
    let unguarded = |text: String| text.replace(&PORT.to_string(), "8080");
    stage.write("a.yaml", &unguarded(file("a", 1, "192.0.2.1", &[OFFICE])));
    stage.until_revision("a", 1);
    stage.write("a.yaml", &removed("a", 2));
    stage.until("a has left", |status| one(status, "a").is_null());
    assert_eq!(stage.reason(IN_OFFICE, "192.0.2.1:8080"), "closed");
    // A removed database is never late.
    sleep(Duration::from_secs(3));
    assert!(!stage.log().contains("not in force within half"), "{}", stage.log());
    stage.stop();
    stage.forget_kernel();
    fs::remove_file(stage.home.rule_file("a.yaml")).unwrap();
    stage.start();
    assert_eq!(stage.reason(IN_OFFICE, "192.0.2.1:8080"), "closed", "after a reboot");
    assert_eq!(stage.reason(IN_OFFICE, "192.0.2.2:8080"), "not_protected", "the control: nothing was there");
    stage.write("a.yaml", &unguarded(file("a", 1, "192.0.2.1", &[OFFICE])));
    stage.until_refused("stale_revision");
    stage.write("a.yaml", &unguarded(file("a", 3, "192.0.2.1", &[OFFICE])));
    stage.until_revision("a", 3);
    assert_eq!(stage.reason(IN_OFFICE, "192.0.2.1:8080"), "allowed");
}
