//! Reboots: an empty kernel and the stored state.

use std::fs;

use firewall_tests::lab::database_of;

use crate::setup::{IN_OFFICE, IN_SHOP, OFFICE, SHOP, builder, file};
use crate::strace::Injected;

const ENDPOINT: &str = "192.0.2.1:30092";

#[test]
fn reboot_without_rule_files_restores_the_state_in_force() {
    let host = builder().start();
    host.push(&file("a", 7, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 7);
    for spoiled in ["", "schema_version: 1\n", &file("a", 6, "192.0.2.1", &[SHOP]).to_string()] {
        host.kill();
        host.remove_pins();
        host.write("a.yaml", spoiled);
        host.start();
        host.until_revision("a", 7);
        host.until_state("a", "rejected");
        assert_eq!(host.reason(IN_OFFICE, ENDPOINT), "allowed", "{spoiled:?}");
        assert_eq!(host.reason(IN_SHOP, ENDPOINT), "no_match", "{spoiled:?}");
    }
    host.kill();
    host.remove_pins();
    fs::remove_file(host.home.rule_file("a.yaml")).unwrap();
    host.start();
    host.until_state("a", "orphaned");
    assert_eq!(host.reason(IN_OFFICE, ENDPOINT), "allowed");
}

/// The agent never treats a damaged store as empty: it does not start, and the kernel's state stays in force.
#[test]
fn damaged_store_allows_no_additional_source() {
    let host = builder().start();
    host.push(&file("a", 7, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 7);
    host.stop();
    let path = host.home.config().with_file_name("state").join("state.redb");
    let whole = fs::read(&path).unwrap();
    let mut spoiled = whole.clone();
    let mut found = 0;
    for at in 0..spoiled.len() - 14 {
        if spoiled[at..].starts_with(b"203.0.113.0/24") {
            spoiled[at..at + 14].copy_from_slice(b"203.0.112.0/00");
            found += 1;
        }
    }
    assert!(found > 0, "the stored file holds its rule");
    fs::write(&path, spoiled).unwrap();
    fs::remove_file(host.home.rule_file("a.yaml")).unwrap();
    let mut agent = host.home.start().unwrap();
    let refused = agent.wait_until("the agent runs", || false).unwrap_err().to_string();
    assert!(refused.contains("state.redb: "), "{refused}");
    assert_eq!(host.reason(IN_OFFICE, ENDPOINT), "allowed", "the kernel still has it");
    assert_eq!(host.reason(IN_SHOP, ENDPOINT), "no_match");
    // Control: the agent accepts the undamaged store.
    fs::write(&path, whole).unwrap();
    host.remove_pins();
    host.start();
    host.until_state("a", "orphaned");
    assert_eq!(host.reason(IN_OFFICE, ENDPOINT), "allowed");
}

/// An accepted file protects its endpoint: without room for its rules every source is denied, rather than allowed.
#[test]
fn database_without_room_is_closed_after_reboot_without_guards() {
    let host = builder().start();
    let target = "192.0.2.1:8080";
    let unguarded = file("a", 1, "192.0.2.1", &[OFFICE, SHOP]).replace("30092", "8080");
    assert_eq!(host.reason(IN_OFFICE, target), "not_protected", "the control: nothing else closes it");
    host.write("a.yaml", unguarded);
    host.until_revision("a", 1);
    assert_eq!(host.reason(IN_OFFICE, target), "allowed");
    host.kill();
    host.remove_pins();
    host.start_with(&["--max-prefixes", "1"]);
    let refused = host.until("it is refused", |status| status["errors"].to_string().contains("no room"));
    for source in [IN_OFFICE, IN_SHOP, "192.0.2.99"] {
        assert_eq!(host.reason(source, target), "closed", "{source}: {refused:#}");
    }
    host.kill();
    host.start();
    host.until_state("a", "applied");
    assert_eq!(host.reason(IN_OFFICE, target), "allowed");
    assert_eq!(host.reason("192.0.2.99", target), "no_match");
}

#[test]
fn failing_disk_delays_no_revocation() {
    let host = builder().start();
    host.push(&file("a", 1, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 1);
    let broken = Injected::into(host.pid(), "pwrite64", "error=EIO");
    host.push(&file("a", 2, "192.0.2.1", &[]));
    host.until("the rule is revoked", |_| host.reason(IN_OFFICE, "a") == "no_match");
    let status = host.until_state("a", "degraded");
    assert!(database_of(&status, "a")["problem"].to_string().contains("state.redb"), "{status}");
    drop(broken);
    host.until_state("a", "applied");
}
