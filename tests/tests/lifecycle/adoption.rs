//! The agent adopts a pinned map only if its shape matches.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use firewall_common::{RuleRecord, names};
use firewall_tests::lab::{TestHost, User};

use crate::raw::{Map, NO_PREALLOC, Shape};
use crate::setup::{DATABASE, hosts};

const HASH: u32 = 1;
const NEEDED: u32 = size_of::<RuleRecord>() as u32;

#[test]
fn pinned_map_of_another_value_size_is_refused_with_details() {
    let host = hosts();
    let pin = pin_rules(&host, NEEDED - 8);
    let refused = host.ask(&["run"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let message = format!("{}: value size is {}, this agent needs {NEEDED}", pin.display(), NEEDED - 8);
    assert!(refused.err.contains(&message), "{refused:?}");
    assert!(pin.exists(), "the agent leaves it in place");
}

/// Control: with the right value size the agent adopts the same map.
#[test]
fn pinned_map_of_equal_shape_is_adopted() {
    let host = hosts();
    pin_rules(&host, NEEDED);
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
}

/// Pins a map of rule records with values of `value` bytes at the path of the agent's own map.
fn pin_rules(host: &TestHost, value: u32) -> PathBuf {
    let layout = host.home.pins().join(names::LAYOUT);
    fs::create_dir(&layout).unwrap();
    let pin = layout.join(names::RULES);
    let flags = NO_PREALLOC;
    let shape = Shape { kind: HASH, key: 4, value, entries: 4096, flags, ..Shape::default() };
    Map::shaped_as(&shape).pin(&pin).unwrap();
    for made in [&layout, &pin] {
        let id = Some(User::Unprivileged.id());
        chown(made, id, id).unwrap();
    }
    pin
}
