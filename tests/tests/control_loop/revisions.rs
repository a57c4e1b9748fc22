//! Revisions, removed files, and the commands for them.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use firewall_tests::lab::{RuleFile, database_of};

use crate::setup::{IN_OFFICE, IN_SHOP, OFFICE, PORT, SHOP, builder, file, removed};

#[test]
fn lower_or_altered_revision_is_refused_also_after_restart() {
    let host = builder().start();
    host.push(&file("a", 5, "192.0.2.1", &[OFFICE]));
    let generation = database_of(&host.until_revision("a", 5), "a")["generation"].clone();
    for restart in [false, true] {
        host.push(&file("a", 4, "192.0.2.1", &[SHOP]));
        host.until_rejected("stale_revision");
        host.until_state("a", "rejected");
        if restart {
            host.kill();
            host.start();
            host.until_state("a", "rejected");
        }
        host.push(&file("a", 5, "192.0.2.1", &[SHOP]));
        host.until_rejected("revision_conflict");
        assert_eq!(host.reason(IN_SHOP, "a"), "no_match");
        // The same file again changes nothing.
        host.push(&file("a", 5, "192.0.2.1", &[OFFICE]));
        let status = host.until_state("a", "applied");
        assert_eq!(database_of(&status, "a")["generation"], generation);
    }
}

#[test]
fn rebase_admits_a_lower_revision_once_without_changing_rules() {
    let host = builder().start();
    host.push(&file("a", 5, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 5);
    assert_eq!(host.ask(&["rebase", "a"]).code, Some(0));
    assert_eq!(host.reason(IN_OFFICE, "a"), "allowed");
    host.push(&file("a", 1, "192.0.2.1", &[SHOP]));
    host.until_revision("a", 1);
    assert_eq!(host.reason(IN_SHOP, "a"), "allowed");
    host.write("b.yaml", file("a", 0, "192.0.2.1", &[SHOP]).replace("revision: 0", "revision: 1"));
    host.push(&file("a", 6, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 6);
    assert_eq!(host.ask(&["rebase", "unknown"]).code, Some(2));
    assert_eq!(host.ask(&["rebase", "not an id"]).code, Some(2));
}

/// The revision in force before the rebase is no floor any more, even after a restart.
#[test]
fn restart_after_rebase_accepts_the_next_revision() {
    let host = builder().start();
    host.push(&file("a", 42, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 42);
    assert_eq!(host.ask(&["rebase", "a"]).code, Some(0));
    host.push(&file("a", 10, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 10);
    for revision in [11, 12] {
        host.kill();
        host.start();
        let rule = if revision == 11 { SHOP } else { OFFICE };
        host.push(&file("a", revision, "192.0.2.1", &[rule]));
        host.until_revision("a", revision);
        assert_eq!(host.reason(IN_SHOP, "a") == "allowed", revision == 11);
    }
    host.push(&file("a", 9, "192.0.2.1", &[SHOP]));
    host.until_rejected("stale_revision");
}

#[test]
fn higher_revision_of_two_files_wins() {
    let host = builder().start();
    host.push(&file("a", 5, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 5);
    host.write("b.yaml", file("a", 6, "192.0.2.1", &[SHOP]));
    let status = host.until_revision("a", 6);
    assert_eq!(database_of(&status, "a")["state"], "applied", "the older file beside it does no harm");
    host.write("c.yaml", file("a", 6, "192.0.2.1", &[OFFICE]));
    host.until_rejected("revision_conflict");
    assert_eq!(host.reason(IN_SHOP, "a"), "allowed");
    assert_eq!(host.reason(IN_OFFICE, "a"), "no_match");
}

#[test]
fn only_forget_removes_a_database_without_file() {
    let host = builder().start();
    host.push(&file("a", 1, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 1);
    let refused = host.ask(&["forget", "a"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("its rule file exists"), "{refused:?}");
    fs::remove_file(host.home.rule_file("a.yaml")).unwrap();
    host.until_state("a", "orphaned");
    assert_eq!(host.reason(IN_OFFICE, "a"), "allowed");

    assert_eq!(host.ask(&["forget", "a"]).code, Some(0));
    let endpoint = format!("192.0.2.1:{PORT}");
    assert_eq!(host.reason(IN_OFFICE, &endpoint), "closed");
    host.stop();
    // Without a daemon the command takes the lock itself.
    let opened = host.ask(&["forget", "a", "--open"]);
    assert_eq!(opened.code, Some(0), "{opened:?}");
    assert!(opened.out.contains(&endpoint), "{opened:?}");
    assert_eq!(host.reason(IN_OFFICE, &endpoint), "closed", "the port is guarded besides");
    assert_eq!(host.ask(&["forget", "a"]).code, Some(1), "not known any more");
}

#[test]
fn removed_destination_stays_closed_until_claimed_also_after_reboot() {
    let host = builder().start();
    let unguarded = |file: RuleFile| file.replace(&PORT.to_string(), "8080");
    host.write("a.yaml", unguarded(file("a", 1, "192.0.2.1", &[OFFICE])));
    host.until_revision("a", 1);
    host.push(&removed("a", 2));
    host.until("a has left", |status| database_of(status, "a").is_null());
    assert_eq!(host.reason(IN_OFFICE, "192.0.2.1:8080"), "closed");
    // A removed database is never late.
    sleep(Duration::from_secs(3));
    assert!(!host.log().contains("not in force within half"), "{}", host.log());
    host.stop();
    host.remove_pins();
    fs::remove_file(host.home.rule_file("a.yaml")).unwrap();
    host.start();
    assert_eq!(host.reason(IN_OFFICE, "192.0.2.1:8080"), "closed", "after a reboot");
    assert_eq!(host.reason(IN_OFFICE, "192.0.2.2:8080"), "not_protected", "the control: nothing was there");
    host.write("a.yaml", unguarded(file("a", 1, "192.0.2.1", &[OFFICE])));
    host.until_rejected("stale_revision");
    host.write("a.yaml", unguarded(file("a", 3, "192.0.2.1", &[OFFICE])));
    host.until_revision("a", 3);
    assert_eq!(host.reason(IN_OFFICE, "192.0.2.1:8080"), "allowed");
}
