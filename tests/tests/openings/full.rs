//! A full state partition, and a store that refuses writes.

use std::fs::{self, File};
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use serde_json::Value;

use firewall_tests::lab::{RuleFile, TestHost, database_of};

use crate::setup::{
    ALLOWED, Connections as _, E1, E2, RULE_FILE, STRANGER, removed, rules, rules_of, unfiltered,
};
use crate::strace::Injected;

const OTHER: &str = "b.yaml";
/// Allowed by the first revision alone.
const REVOKED: &str = "10.77.0.4";
const WITHHELD: &str = "database b: closed until its claim is stored";

/// With its reserve, the store accepts every change.
#[test]
fn full_partition_with_store_reserve_blocks_nothing() {
    let host = on_partition("16m");
    fill(&host);
    host.push(&rules(2, &[E1], &[ALLOWED]));
    host.push(&rules_of("b", 1, &[E2], &[ALLOWED]));
    host.until_applied("a", 2);
    host.until_applied("b", 1);
    host.sees(&[E1, E2], &[]);
    host.refuses(REVOKED, E1);
    host.push(&RuleFile::new("b", 2).removed());
    host.until_sees(&[E1], &[E2]);
    host.until("the removal is stored", |status| database_of(status, "b")["database_id"].is_null());
    host.kill();
    host.home.remove_rules(OTHER).unwrap();
    host.boot(0, &[E1], &[E2]);
    host.refuses(REVOKED, E1);
}

/// The status file's space was allocated before the partition was full.
#[test]
fn full_partition_never_loses_the_status() {
    let host = on_partition("16m");
    let path = host.state_dir().join("status.json");
    for revision in 2..6 {
        fill(&host);
        host.push(&rules(revision, &[E1], &[ALLOWED]));
        let (started, expected) = (Instant::now(), format!("\"revision\": {revision},"));
        while !fs::read_to_string(&path).unwrap().contains(&expected) {
            assert!(started.elapsed() < Duration::from_secs(20), "revision {revision} is not in the status");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn full_partition_delays_no_revocation_and_opens_nothing() {
    let host = on_partition("5m");
    fill(&host);
    // Too large for any free page of the store.
    let large = format!("# {}\n", "x".repeat(3 << 20));
    let large = |file: RuleFile| file.replace("schema_version", &format!("{large}schema_version"));
    host.write(RULE_FILE, large(rules(2, &[E1], &[ALLOWED])));
    host.write(OTHER, large(rules_of("b", 1, &[E2], &[ALLOWED])));
    until_logged(&host);
    host.sees(&[E1], &[E2]);
    host.refuses(REVOKED, E1);
    // Two boots with the partition still full.
    for _ in 0..2 {
        host.kill();
        host.boot(6, &[E1], &[E2]);
        host.refuses(REVOKED, E1);
    }
    // A claimed destination leaves, and must stay closed over a boot.
    host.push(&removed(3));
    host.until_sees(&[], &[E1, E2]);
    host.kill();
    host.boot(6, &[], &[E1, E2]);
    fs::remove_file(host.state_dir().join("fill")).unwrap();
    // A file smaller than the partition can be stored now.
    host.push(&rules_of("b", 2, &[E2], &[ALLOWED]));
    host.until_applied("b", 2);
    host.until_sees(&[E2], &[E1]);
    host.kill();
    host.boot(0, &[E2], &[E1]);
}

#[test]
fn narrowed_wildcard_stays_open_where_claimed_after_full_disk_boot() {
    let host = on_partition("5m");
    let port = E1.split_once(':').unwrap().1;
    host.push(&rules(2, &[port], &[ALLOWED]));
    host.until_applied("a", 2);
    host.sees(&[E1, E2], &[]);
    host.stop();
    fill(&host);
    host.push(&rules(3, &[E1], &[ALLOWED]));
    host.boot(0, &[E1], &[E2]);
    host.kill();
    // The claim of every address is durable: without the file, too, no other source gets in.
    host.home.remove_rules(RULE_FILE).unwrap();
    host.boot(0, &[E1], &[]);
    assert!(!host.connects(STRANGER, E2));
}

#[test]
fn open_endpoint_is_not_reported_closed_after_full_disk_restart() {
    let host = on_partition("5m");
    host.stop();
    fill(&host);
    host.run();
    host.until_logs("state.redb: cannot write a copy beside it");
    host.sees(&[E1], &[]);
    assert_eq!(host.logged("closed until its claim is stored"), 0);
    // The control: a new endpoint is.
    host.push(&rules_of("b", 1, &[E2], &[ALLOWED]));
    until_logged(&host);
    host.sees(&[E1], &[E2]);
}

#[test]
fn failing_store_writes_delay_no_revocation_and_open_nothing() {
    for call in ["pwrite64", "fsync,fdatasync"] {
        let host = unfiltered("");
        begin(&host);
        let broken = Injected::into(host.pid(), call, "error=EIO");
        host.push(&rules(2, &[E1], &[ALLOWED]));
        host.push(&rules_of("b", 1, &[E2], &[ALLOWED]));
        until_logged(&host);
        if call == "pwrite64" {
            until_withheld(&host);
        }
        host.sees(&[E1], &[E2]);
        host.refuses(REVOKED, E1);
        drop(broken);
        host.until_applied("b", 1);
        host.until_sees(&[E1, E2], &[]);

        // Destinations leave, and one moves to another database, while no write succeeds; then the host goes down.
        let broken = Injected::into(host.pid(), call, "error=EIO");
        host.push(&removed(3));
        host.push(&rules_of("b", 2, &[E1], &[ALLOWED]));
        host.until_sees(&[], &[E1, E2]);
        // Without the file, a restart brings database `a` back: its removal must not look finished.
        host.until("the removal is listed", |status| {
            let problem = database_of(status, "a")["problem"].as_str();
            problem.is_some_and(|problem| problem.starts_with("removed, but not durable: keep its file"))
        });
        host.kill();
        drop(broken);
        host.boot(0, &[E1], &[E2]);
    }
}

/// Returns a host with its state directory on a separate file system.
fn on_partition(size: &str) -> TestHost {
    let host = unfiltered("");
    let options = format!("size={size},mode=0700,uid=65534,gid=65534");
    mount(Some("tmpfs"), &host.state_dir(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
    begin(&host);
    host
}

fn begin(host: &TestHost) {
    host.push(&rules(1, &[E1], &[ALLOWED, REVOKED]));
    host.run();
    host.until_applied("a", 1);
    host.sees(&[E1], &[]);
    host.lets_in(REVOKED, E1);
    assert!(host.connects(STRANGER, E2), "the control: nothing was ever claimed there");
}

/// Fills the partition.
fn fill(host: &TestHost) {
    let mut file = File::create(host.state_dir().join("fill")).unwrap();
    for size in [64 << 10, 4 << 10, 1] {
        while file.write_all(&vec![0x5a; size]).is_ok() {}
    }
}

/// Waits until the status reports that the endpoint of database `b` is closed until its claim is durable.
fn until_withheld(host: &TestHost) {
    let is_withheld = |status: &Value| {
        let conditions = status["conditions"].as_array().unwrap();
        conditions.iter().any(|one| one["name"] == "withheld" && one["subject"] == "b")
    };
    let status = host.until("withheld", is_withheld);
    assert!(status["errors"].to_string().contains(WITHHELD), "{status:#}");
    // The same without the daemon's answer.
    let dir = host.state_dir().display().to_string();
    host.eventually("withheld in status.json", || is_withheld(&host.json(&["status", "--state-dir", &dir])));
}

/// As `until_withheld`, where the status cannot be written either.
fn until_logged(host: &TestHost) {
    host.until_logs(WITHHELD);
}
