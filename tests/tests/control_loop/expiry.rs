//! Rules that expire.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::stage::{IN_OFFICE, IN_SHOP, SHOP, Stage, file};

#[test]
fn a_rule_expires_without_the_control_plane_and_stays_expired_over_restarts() {
    let mut stage = Stage::new();
    let expiry = Timestamp::try_from(SystemTime::now() + Duration::from_secs(4)).unwrap();
    let office = format!("id: fr-1, type: custom_range, cidr: 203.0.113.0/24, expires_at: '{expiry}'");
    stage.write("a.yaml", &file("a", 1, "192.0.2.1", &[&office, SHOP]));
    stage.until_revision("a", 1);
    assert_eq!(stage.reason(IN_OFFICE, "a"), "allowed");
    let left = expiry.duration_since(Timestamp::now());
    sleep(Duration::try_from(left).unwrap_or_default());
    stage.until("the rule is out of force", |_| stage.reason(IN_OFFICE, "a") == "no_match");
    assert_eq!(stage.reason(IN_SHOP, "a"), "allowed", "the others are untouched");
    stage.kill();
    stage.start();
    assert_eq!(stage.reason(IN_OFFICE, "a"), "no_match");
    stage.stop();
    stage.forget_kernel();
    fs::remove_file(stage.home.rule_file("a.yaml")).unwrap();
    stage.start();
    assert_eq!(stage.reason(IN_OFFICE, "192.0.2.1:30092"), "no_match", "after a reboot, too");
    assert_eq!(stage.reason(IN_SHOP, "192.0.2.1:30092"), "allowed");
}
