//! What the first release fixed for every later one: the shape of layout `v1`, and how its links are made.

use std::collections::BTreeMap;
use std::fs;

use firewall_common::names;
use firewall_tests::lab::eventually;

use crate::bpf::bpf;
use crate::raw::Map;
use crate::stage::{INTERFACE, Stage};

/// Name, type, key and value size, flags, in the order of the names.
const RECORDED: &str = include_str!("../../fixtures/abi/v1.txt");
const PROG_LOAD: libc::c_long = 5;
const XDP: u32 = 6;
/// `BPF_XDP`, the attach type that programs and links have.
const BPF_XDP: u32 = 37;

/// A change of any of these lines is a new layout: raise `names::LAYOUT` and record it in a file of its own.
#[test]
fn the_maps_are_shaped_as_recorded() {
    let stage = Stage::new();
    let _agent = stage.start();
    let layout = stage.home.pins().join(names::LAYOUT);
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

/// The kernel gives a link only programs of the attach type that it was made with.
#[test]
fn the_link_takes_programs_of_the_recorded_attach_type_and_no_others() {
    let stage = Stage::new();
    let agent = stage.start();
    agent.kill().unwrap();
    let link = Map::pinned(&stage.home.pins().join("links").join(INTERFACE));
    let refused = link.update_link(&drop_all(0)).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EINVAL), "another attach type");
    link.update_link(&drop_all(BPF_XDP)).unwrap();
    let mut agent = stage.start();
    agent.wait_until("it is ready", || stage.status()["ready"] == true).unwrap();
    let path = stage.dir().join("state/status.json");
    eventually(std::time::Duration::from_secs(10), "the agent's own program runs again", || {
        let status: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()?;
        (status["interfaces"][0]["program_tag"] != "").then_some(())
    })
    .unwrap();
}

/// A program that drops everything, loaded for this attach type.
fn drop_all(attach_type: u32) -> Map {
    // r0 = XDP_DROP; exit.
    let instructions: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];
    let license = c"GPL";
    let mut attributes = [0u64; 16];
    attributes[0] = u64::from(XDP) | 2 << 32;
    attributes[1] = instructions.as_ptr() as u64;
    attributes[2] = license.as_ptr() as u64;
    // expected_attach_type is the second half of the ninth word.
    attributes[8] = u64::from(attach_type) << 32;
    Map::opened(bpf(PROG_LOAD, &mut attributes).unwrap())
}
