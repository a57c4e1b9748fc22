//! `blocked_ranges`: sources that the control plane refuses on the whole host, before any rule.

use std::fs;

use firewall_tests::lab::{RangesFile, RuleFile, TestHost};

const ORDERS: &str = "orders";
const SERVER: &str = "192.0.2.10:5432";
/// Two sources that the rules allow.
const OFFICE: &str = "192.0.2.20";
const BRANCH: &str = "192.0.2.21";

fn push(host: &TestHost, revision: u64, cidrs: &[&str], more: &str) {
    let file = RangesFile::new(revision).range_with("abuse", cidrs, more);
    let next = host.dir().join("next.yaml");
    fs::write(&next, file.to_string()).unwrap();
    fs::rename(next, host.dir().join("blocked.yaml")).unwrap();
}

/// Waits until the connections of both sources succeed, or not.
fn until_access(host: &TestHost, expected: [bool; 2]) {
    host.eventually(&format!("access {expected:?}"), || {
        [OFFICE, BRANCH].map(|source| host.connects(source, SERVER)) == expected
    });
}

#[test]
fn a_blocked_range_is_refused_before_the_rules_until_a_list_without_it() {
    let host = TestHost::builder()
        .clients(&["192.0.2.20/24", "192.0.2.21/24"])
        .listeners(&[SERVER])
        .rules(RuleFile::new(ORDERS, 1).endpoint(SERVER).allow("192.0.2.16/28"))
        .build();
    let path = host.dir().join("blocked.yaml");
    host.change_config("managed_ranges:", &format!("blocked_ranges: {}\nmanaged_ranges:", path.display()));
    push(&host, 1, &["192.0.2.20/32", "198.51.100.0/24"], "");
    host.start();
    host.until_revision(ORDERS, 1);
    until_access(&host, [false, true]);
    assert_eq!(host.reason(OFFICE, SERVER), "blocked");
    let rows = host.json(&["blocked"]);
    assert_eq!((rows[0]["range_id"].as_str(), rows[0]["prefixes"].as_u64()), (Some("abuse"), Some(2)));
    assert!(rows[0]["packets"].as_u64().unwrap() > 0, "{rows}");
    assert_eq!(host.json(&["blocked", "abuse"])[0]["cidrs"][0], "192.0.2.20/32");
    assert_eq!(host.ask(&["blocked", "nonesuch"]).code, Some(2));
    // A missing file changes nothing, through a restart and a reboot, too.
    fs::remove_file(&path).unwrap();
    host.stop();
    host.remove_pins();
    host.start();
    host.until_revision(ORDERS, 1);
    assert_eq!(host.reason(OFFICE, SERVER), "blocked");
    // An emptied list is refused, unless it says so.
    push(&host, 2, &[], "");
    host.until_rejected("has no prefix left of 2");
    assert_eq!(host.reason(OFFICE, SERVER), "blocked");
    push(&host, 3, &[], ", accept_shrink: true");
    until_access(&host, [true, true]);
    push(&host, 4, &["192.0.2.21/32"], "");
    until_access(&host, [true, false]);
    push(&host, 3, &["192.0.2.20/32"], "");
    host.until_rejected("revision 3 is lower than 4");
    until_access(&host, [true, false]);
}
