//! A full state partition, and a store that refuses writes.

use std::fs::{self, File};
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};

use crate::stage::{ALLOWED, E1, E2, RULE_FILE, STRANGER, Stage, removed, rules, rules_of};
use crate::strace::Injected;

const OTHER: &str = "b.yaml";
/// Allowed by the first revision alone.
const REVOKED: &str = "10.77.0.4";
const WITHHELD: &str = "database b: closed until its claim is stored";

/// With its reserve, the store accepts every change.
#[test]
fn a_full_partition_with_the_reserve_of_the_store_holds_nothing_up() {
    let stage = on_partition("16m");
    fill(&stage);
    stage.push(&rules(2, &[E1], &[ALLOWED]));
    stage.home.write_rules(OTHER, &rules_of("b", 1, &[E2], &[ALLOWED])).unwrap();
    stage.until_applied("a", 2);
    stage.until_applied("b", 1);
    stage.sees(&[E1, E2], &[]);
    stage.refuses(REVOKED, E1);
    stage.home.write_rules(OTHER, &removed(2).replace("database_id: a", "database_id: b")).unwrap();
    stage.until_sees(&[E1], &[E2]);
    stage.kill();
    stage.home.remove_rules(OTHER).unwrap();
    stage.boot(0, &[E1], &[E2]);
    stage.refuses(REVOKED, E1);
}

/// The status file's space was allocated before the partition was full.
#[test]
fn a_full_partition_never_loses_the_status() {
    let stage = on_partition("16m");
    let path = stage.state_dir().join("status.json");
    for revision in 2..6 {
        fill(&stage);
        stage.push(&rules(revision, &[E1], &[ALLOWED]));
        let (started, said) = (Instant::now(), format!("\"revision\": {revision},"));
        while !fs::read_to_string(&path).unwrap().contains(&said) {
            assert!(started.elapsed() < Duration::from_secs(20), "revision {revision} is not in the status");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_full_partition_without_room_delays_no_revocation_and_opens_nothing() {
    let stage = on_partition("5m");
    fill(&stage);
    // Too large for any free page of the store.
    let large = format!("# {}\n", "x".repeat(3 << 20));
    let large = |text: String| text.replace("schema_version", &format!("{large}schema_version"));
    stage.push(&large(rules(2, &[E1], &[ALLOWED])));
    stage.home.write_rules(OTHER, &large(rules_of("b", 1, &[E2], &[ALLOWED]))).unwrap();
    until_logged(&stage);
    stage.sees(&[E1], &[E2]);
    stage.refuses(REVOKED, E1);
    // Two boots with the partition still full.
    for _ in 0..2 {
        stage.kill();
        stage.boot(6, &[E1], &[E2]);
        stage.refuses(REVOKED, E1);
    }
    // A claimed destination leaves, and must stay closed over a boot.
    stage.push(&removed(3));
    stage.until_sees(&[], &[E1, E2]);
    stage.kill();
    stage.boot(6, &[], &[E1, E2]);
    fs::remove_file(stage.state_dir().join("fill")).unwrap();
    // A file smaller than the partition can be stored now.
    stage.home.write_rules(OTHER, &rules_of("b", 2, &[E2], &[ALLOWED])).unwrap();
    stage.until_applied("b", 2);
    stage.until_sees(&[E2], &[E1]);
    stage.kill();
    stage.boot(0, &[E2], &[E1]);
}

#[test]
fn a_wildcard_narrowed_before_a_boot_with_a_full_partition_stays_open_where_it_is_claimed() {
    let stage = on_partition("5m");
    let port = E1.split_once(':').unwrap().1;
    stage.push(&rules(2, &[port], &[ALLOWED]));
    stage.until_applied("a", 2);
    stage.sees(&[E1, E2], &[]);
    stage.stop();
    fill(&stage);
    stage.push(&rules(3, &[E1], &[ALLOWED]));
    stage.boot(0, &[E1], &[E2]);
    stage.kill();
    // The claim of every address is durable: without the file, too, nobody else gets in.
    stage.home.remove_rules(RULE_FILE).unwrap();
    stage.boot(0, &[E1], &[]);
    assert!(!stage.gets_in(STRANGER, E2));
}

#[test]
fn an_endpoint_that_is_open_over_a_restart_with_a_full_partition_is_not_called_closed() {
    let stage = on_partition("5m");
    stage.stop();
    fill(&stage);
    stage.run();
    stage.until_logs("state.redb: cannot write a copy beside it");
    stage.sees(&[E1], &[]);
    assert_eq!(stage.logged("closed until its claim is stored"), 0);
    // The control: a new endpoint is.
    stage.home.write_rules(OTHER, &rules_of("b", 1, &[E2], &[ALLOWED])).unwrap();
    until_logged(&stage);
    stage.sees(&[E1], &[E2]);
}

#[test]
fn a_store_that_refuses_writes_delays_no_revocation_and_opens_nothing() {
    for call in ["pwrite64", "fsync,fdatasync"] {
        let stage = Stage::new("");
        begin(&stage);
        let broken = Injected::into(stage.pid(), call, "error=EIO");
        stage.push(&rules(2, &[E1], &[ALLOWED]));
        stage.home.write_rules(OTHER, &rules_of("b", 1, &[E2], &[ALLOWED])).unwrap();
        until_logged(&stage);
        if call == "pwrite64" {
            until_withheld(&stage);
        }
        stage.sees(&[E1], &[E2]);
        stage.refuses(REVOKED, E1);
        drop(broken);
        stage.until_applied("b", 1);
        stage.until_sees(&[E1, E2], &[]);

        // Destinations leave, and one moves to another database, while no write succeeds; then the host goes down.
        let broken = Injected::into(stage.pid(), call, "error=EIO");
        stage.push(&removed(3));
        stage.home.write_rules(OTHER, &rules_of("b", 2, &[E1], &[ALLOWED])).unwrap();
        stage.until_sees(&[], &[E1, E2]);
        stage.kill();
        drop(broken);
        stage.boot(0, &[E1], &[E2]);
    }
}

/// Returns a stage with its state directory on a separate file system.
fn on_partition(size: &str) -> Stage {
    let stage = Stage::new("");
    let options = format!("size={size},mode=0700,uid=65534,gid=65534");
    mount(Some("tmpfs"), &stage.state_dir(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
        .unwrap();
    begin(&stage);
    stage
}

fn begin(stage: &Stage) {
    stage.push(&rules(1, &[E1], &[ALLOWED, REVOKED]));
    stage.run();
    stage.until_applied("a", 1);
    stage.sees(&[E1], &[]);
    stage.lets_in(REVOKED, E1);
    assert!(stage.gets_in(STRANGER, E2), "the control: nothing was ever claimed there");
}

/// Fills the partition.
fn fill(stage: &Stage) {
    let mut file = File::create(stage.state_dir().join("fill")).unwrap();
    for size in [64 << 10, 4 << 10, 1] {
        while file.write_all(&vec![0x5a; size]).is_ok() {}
    }
}

/// Waits until the status reports that the endpoint of database `b` is closed until its claim is durable.
fn until_withheld(stage: &Stage) {
    let status = stage.until("withheld", |status| {
        let conditions = status["conditions"].as_array().unwrap();
        conditions.iter().any(|one| one["name"] == "withheld" && one["subject"] == "b")
    });
    assert!(status["errors"].to_string().contains(WITHHELD), "{status:#}");
}

/// As `until_withheld`, where the status cannot be written either.
fn until_logged(stage: &Stage) {
    stage.until_logs(WITHHELD);
}
