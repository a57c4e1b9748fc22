//! The agent adopts a pinned map only if its shape matches.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use firewall_common::{RuleRecord, names};
use firewall_tests::lab::{TestHost, User};

use crate::bpf::bpf;
use crate::map::{Blueprint, create_map};
use crate::setup::{DATABASE, hosts};

const OBJ_PIN: libc::c_long = 6;
const HASH: u32 = 1;
const NO_PREALLOC: u32 = 1;
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
    let map = create_map(Blueprint { kind: HASH, key: 4, value, entries: 4096, flags: NO_PREALLOC }).unwrap();
    pin_map(&map, &pin);
    for made in [&layout, &pin] {
        let id = Some(User::Unprivileged.id());
        chown(made, id, id).unwrap();
    }
    pin
}

fn pin_map(map: &OwnedFd, path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut attributes = [path.as_ptr() as u64, map.as_raw_fd().cast_unsigned().into()];
    bpf(OBJ_PIN, &mut attributes).unwrap();
}
