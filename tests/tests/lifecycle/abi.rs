//! The ABI that the first release fixed for every later one: map shapes of layout `v1`, and the links' attach type.

use std::collections::BTreeMap;
use std::fs;

use firewall_common::names;
use firewall_tests::lab::{INTERFACE, eventually};

use crate::raw::{BPF_XDP, Map};
use crate::setup::hosts;

/// Name, type, key and value size, flags, sorted by name.
const RECORDED: &str = include_str!("../../fixtures/abi/v1.txt");

/// A change of any of these lines is a new layout: raise `names::LAYOUT` and record it in a new file.
#[test]
fn the_maps_are_shaped_as_recorded() {
    let host = hosts();
    let _agent = host.start_agent();
    let layout = host.home.pins().join(names::LAYOUT);
    let maps: BTreeMap<&str, _> =
        names::MAPS.iter().map(|name| (*name, Map::pinned(&layout.join(name)).shape().unwrap())).collect();
    let found: String = maps
        .into_iter()
        .map(|(name, shape)| {
            format!(
                "{name} type={} key={} value={} flags={:#x}\n",
                shape.kind, shape.key, shape.value, shape.flags
            )
        })
        .collect();
    assert_eq!(names::LAYOUT, "v1");
    assert_eq!(found, RECORDED, "the layout of a release is fixed");
}

/// The kernel accepts only programs of the attach type that the link was created with.
#[test]
fn the_link_takes_programs_of_the_recorded_attach_type_and_no_others() {
    let host = hosts();
    let agent = host.start_agent();
    agent.kill().unwrap();
    let link = Map::pinned(&host.home.pins().join("links").join(INTERFACE));
    let refused = link.update_link(&Map::drop_all(0)).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EINVAL), "another attach type");
    link.update_link(&Map::drop_all(BPF_XDP)).unwrap();
    let mut agent = host.start_agent();
    agent.wait_until("it is ready", || host.status()["ready"] == true).unwrap();
    let path = host.dir().join("state/status.json");
    eventually(std::time::Duration::from_secs(10), "the agent's own program runs again", || {
        let status: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()?;
        (status["interfaces"][0]["program_tag"] != "").then_some(())
    })
    .unwrap();
}
