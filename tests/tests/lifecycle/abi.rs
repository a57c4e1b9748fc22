//! The ABI that a release fixes for every later one: map shapes of layout `v3`, and the links' attach type. The shapes of
//! earlier layouts are in the same folder.

use std::collections::BTreeSet;
use std::fs;

use firewall_common::names::{self, Entries};
use firewall_tests::lab::{INTERFACE, eventually};

use crate::raw::{BPF_XDP, Map};
use crate::setup::hosts;

/// Name, type, key and value size, flags, and the number of entries unless it depends on the configuration, sorted by
/// name.
const RECORDED: &str = include_str!("../../fixtures/abi/v3.txt");

/// A change of any of these lines is a new layout: raise `names::LAYOUT` and record it in a new file.
#[test]
fn maps_have_the_recorded_shape() {
    let host = hosts();
    let _agent = host.start_agent();
    let layout = host.home.pins().join(names::LAYOUT);
    let lines: BTreeSet<String> = names::CONTRACT
        .iter()
        .map(|map| {
            let shape = Map::pinned(&layout.join(map.name)).shape().unwrap();
            let entries = (map.entries == Entries::Declared).then(|| format!(" entries={}", shape.entries));
            format!(
                "{} type={} key={} value={} flags={:#x}{}\n",
                map.name,
                shape.kind,
                shape.key,
                shape.value,
                shape.flags,
                entries.unwrap_or_default()
            )
        })
        .collect();
    let found: String = lines.into_iter().collect();
    assert_eq!(names::LAYOUT, "v3");
    assert_eq!(found, RECORDED, "the layout of a release is fixed");
}

/// The kernel accepts only programs of the attach type that the link was created with.
#[test]
fn link_accepts_only_programs_of_the_recorded_attach_type() {
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
