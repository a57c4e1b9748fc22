//! Two databases that claim one endpoint.

use firewall_tests::lab::database_of;

use crate::setup::{IN_OFFICE, IN_SHOP, OFFICE, SHOP, builder, file};

#[test]
fn endpoint_stays_with_its_owner_over_restart_until_released() {
    let host = builder().start();
    host.push(&file("z", 1, "192.0.2.1", &[OFFICE]));
    host.until_revision("z", 1);
    // The newcomer's file name sorts first, which gives it no priority.
    host.push(&file("a", 1, "192.0.2.1", &[SHOP]));
    host.until_rejected("endpoint_claimed");
    host.kill();
    host.start();
    host.until_rejected("endpoint_claimed");
    assert_eq!(host.reason(IN_OFFICE, "192.0.2.1:30092"), "allowed");
    assert_eq!(host.reason(IN_SHOP, "192.0.2.1:30092"), "no_match");
    // The agent admits the rejected file as soon as the holder releases the endpoint.
    host.push(&file("z", 2, "192.0.2.2", &[OFFICE]));
    let status = host.until_revision("a", 1);
    assert_eq!(database_of(&status, "z")["revision"], 2);
    assert_eq!(host.reason(IN_SHOP, "192.0.2.1:30092"), "allowed");
    assert_eq!(host.reason(IN_OFFICE, "192.0.2.1:30092"), "no_match");
    assert_eq!(host.reason(IN_OFFICE, "192.0.2.2:30092"), "allowed");
}
