//! Managed ranges: late arrival, change, shrinking.

use std::fs;

use crate::stage::{EGRESS, IN_OFFICE, OFFICE, Stage, file};

fn ranges(revision: u64, shrink: bool, cidrs: &[&str]) -> String {
    format!(
        "schema_version: 1\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\nranges:\n  \
         - {{id: man-egress, name: Egress, cidrs: [{}]{}}}\n...\n",
        cidrs.join(", "),
        if shrink { ", accept_shrink: true" } else { "" }
    )
}

#[test]
fn a_range_that_is_not_there_degrades_the_database_until_it_arrives() {
    let stage = Stage::new();
    stage.write("a.yaml", &file("a", 1, "192.0.2.1", &[OFFICE, EGRESS]));
    stage.until_state("a", "degraded");
    assert_eq!(stage.reason(IN_OFFICE, "a"), "allowed", "the rest applies");
    stage.home.write_ranges(&ranges(1, false, &["192.0.2.128/32", "192.0.2.129/32"])).unwrap();
    stage.until_state("a", "applied");
    assert_eq!(stage.reason("192.0.2.129", "a"), "allowed");
}

#[test]
fn a_new_list_is_published_and_an_implausible_one_is_not() {
    let mut stage = Stage::new();
    let four = ["192.0.2.128/32", "192.0.2.129/32", "192.0.2.130/32", "192.0.2.131/32"];
    stage.home.write_ranges(&ranges(1, false, &four)).unwrap();
    stage.write("a.yaml", &file("a", 1, "192.0.2.1", &[EGRESS]));
    stage.until_state("a", "applied");
    for (revision, cidrs) in [(2, &[][..]), (3, &four[..1])] {
        stage.home.write_ranges(&ranges(revision, false, cidrs)).unwrap();
        stage.until_refused("man-egress");
        assert_eq!(stage.reason("192.0.2.131", "a"), "allowed", "the last good list stays");
        stage.kill();
        stage.start();
        assert_eq!(stage.reason("192.0.2.131", "a"), "allowed", "after a restart, too");
    }
    stage.home.write_ranges(&ranges(9, true, &four[..1])).unwrap();
    stage.until("the shrink is taken", |_| stage.reason("192.0.2.131", "a") == "no_match");
    assert_eq!(stage.reason("192.0.2.128", "a"), "allowed");
    stage.home.write_ranges(&ranges(8, false, &four)).unwrap();
    stage.until_refused("stale_revision");
    assert_eq!(stage.reason("192.0.2.131", "a"), "no_match");
}

#[test]
fn a_start_without_the_ranges_file_cuts_nobody() {
    let mut stage = Stage::new();
    stage.home.write_ranges(&ranges(1, false, &["192.0.2.128/32"])).unwrap();
    stage.write("a.yaml", &file("a", 1, "192.0.2.1", &[EGRESS]));
    stage.until_state("a", "applied");
    stage.stop();
    fs::remove_file(stage.home.config().with_file_name("managed-ranges.yaml")).unwrap();
    stage.start();
    assert_eq!(stage.reason("192.0.2.128", "a"), "allowed");
    stage.stop();
    stage.forget_kernel();
    stage.start();
    assert_eq!(stage.reason("192.0.2.128", "a"), "allowed", "after a reboot, too");
}
