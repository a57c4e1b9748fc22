//! Rules that expire.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::setup::{IN_OFFICE, IN_SHOP, SHOP, builder, file};

#[test]
fn rule_expires_without_control_plane_and_stays_expired() {
    let host = builder().start();
    let expiry = Timestamp::try_from(SystemTime::now() + Duration::from_secs(4)).unwrap();
    let office = format!("id: fr-1, type: custom_range, cidr: 203.0.113.0/24, expires_at: '{expiry}'");
    host.push(&file("a", 1, "192.0.2.1", &[&office, SHOP]));
    host.until_revision("a", 1);
    assert_eq!(host.reason(IN_OFFICE, "a"), "allowed");
    let left = expiry.duration_since(Timestamp::now());
    sleep(Duration::try_from(left).unwrap_or_default());
    host.until("the rule is out of force", |_| host.reason(IN_OFFICE, "a") == "no_match");
    assert_eq!(host.reason(IN_SHOP, "a"), "allowed", "the others are untouched");
    host.kill();
    host.start();
    assert_eq!(host.reason(IN_OFFICE, "a"), "no_match");
    host.stop();
    host.remove_pins();
    fs::remove_file(host.home.rule_file("a.yaml")).unwrap();
    host.start();
    assert_eq!(host.reason(IN_OFFICE, "192.0.2.1:30092"), "no_match", "after a reboot, too");
    assert_eq!(host.reason(IN_SHOP, "192.0.2.1:30092"), "allowed");
}
