//! Managed ranges: late arrival, change, shrinking.

use std::fs;

use firewall_tests::lab::RangesFile;

use crate::setup::{EGRESS, IN_OFFICE, OFFICE, builder, file};

fn ranges(revision: u64, cidrs: &[&str]) -> RangesFile {
    RangesFile::new(revision).range("man-egress", cidrs)
}

#[test]
fn missing_range_degrades_the_database_until_it_arrives() {
    let host = builder().start();
    host.push(&file("a", 1, "192.0.2.1", &[OFFICE, EGRESS]));
    host.until_state("a", "degraded");
    assert_eq!(host.reason(IN_OFFICE, "a"), "allowed", "the rest applies");
    host.push_ranges(&ranges(1, &["192.0.2.128/32", "192.0.2.129/32"]));
    host.until_state("a", "applied");
    assert_eq!(host.reason("192.0.2.129", "a"), "allowed");
}

#[test]
fn new_range_is_published_and_an_implausible_one_is_not() {
    let host = builder().start();
    let four = ["192.0.2.128/32", "192.0.2.129/32", "192.0.2.130/32", "192.0.2.131/32"];
    host.push_ranges(&ranges(1, &four));
    host.push(&file("a", 1, "192.0.2.1", &[EGRESS]));
    host.until_state("a", "applied");
    for (revision, cidrs) in [(2, &[][..]), (3, &four[..1])] {
        host.push_ranges(&ranges(revision, cidrs));
        host.until_rejected("man-egress");
        assert_eq!(host.reason("192.0.2.131", "a"), "allowed", "the last good list stays");
        host.kill();
        host.start();
        assert_eq!(host.reason("192.0.2.131", "a"), "allowed", "after a restart, too");
    }
    host.push_ranges(&RangesFile::new(9).range_with("man-egress", &four[..1], ", accept_shrink: true"));
    host.until("the shrink is accepted", |_| host.reason("192.0.2.131", "a") == "no_match");
    assert_eq!(host.reason("192.0.2.128", "a"), "allowed");
    host.push_ranges(&ranges(8, &four));
    host.until_rejected("stale_revision");
    assert_eq!(host.reason("192.0.2.131", "a"), "no_match");
}

#[test]
fn start_without_the_ranges_file_cuts_no_client() {
    let host = builder().start();
    host.push_ranges(&ranges(1, &["192.0.2.128/32"]));
    host.push(&file("a", 1, "192.0.2.1", &[EGRESS]));
    host.until_state("a", "applied");
    host.stop();
    fs::remove_file(host.home.config().with_file_name("managed-ranges.yaml")).unwrap();
    host.start();
    assert_eq!(host.reason("192.0.2.128", "a"), "allowed");
    host.stop();
    host.remove_pins();
    host.start();
    assert_eq!(host.reason("192.0.2.128", "a"), "allowed", "after a reboot, too");
}
