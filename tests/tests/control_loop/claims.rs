//! Two databases that claim one endpoint.

use crate::stage::{IN_OFFICE, IN_SHOP, OFFICE, SHOP, Stage, file, one};

#[test]
fn the_holder_keeps_an_endpoint_also_over_a_restart_and_it_moves_in_either_order() {
    let mut stage = Stage::new();
    stage.write("z.yaml", &file("z", 1, "192.0.2.1", &[OFFICE]));
    stage.until_revision("z", 1);
    // The newcomer's file name sorts first, which gives it no priority.
    stage.write("a.yaml", &file("a", 1, "192.0.2.1", &[SHOP]));
    stage.until_refused("endpoint_claimed");
    stage.kill();
    stage.start();
    stage.until_refused("endpoint_claimed");
    assert_eq!(stage.reason(IN_OFFICE, "192.0.2.1:30092"), "allowed");
    assert_eq!(stage.reason(IN_SHOP, "192.0.2.1:30092"), "no_match");
    // The agent admits the rejected file as soon as the holder releases the endpoint.
    stage.write("z.yaml", &file("z", 2, "192.0.2.2", &[OFFICE]));
    let status = stage.until_revision("a", 1);
    assert_eq!(one(&status, "z")["revision"], 2);
    assert_eq!(stage.reason(IN_SHOP, "192.0.2.1:30092"), "allowed");
    assert_eq!(stage.reason(IN_OFFICE, "192.0.2.1:30092"), "no_match");
    assert_eq!(stage.reason(IN_OFFICE, "192.0.2.2:30092"), "allowed");
}
