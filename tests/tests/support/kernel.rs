//! The real programs with a rule set in force, without a daemon.

#![allow(dead_code, reason = "each test target uses a part of it")]

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;

use firewall_agent::bpf::{Kernel, MapSizes, Pins, Probe, Programs};
use firewall_agent::rules::{Limits, ManagedRanges, read_database};
use firewall_agent::sync::{Desired, Guards, Live, LocalBlock, publish};
use firewall_tests::lab::Lab;
use jiff::Timestamp;

pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;

/// Directory of the pins in a lab's bpffs.
pub const BPFFS: &str = "/sys/fs/bpf/firewall-agent";

/// The loaded programs with empty maps, in a lab of their own.
pub struct LoadedFirewall {
    pub kernel: Kernel,
    pub live: Live,
    pub firewall: Probe,
    pub probe: Probe,
    _programs: Programs,
    _lab: Lab,
}

/// Returns the action of a verdict that passes packets, or refuses them.
pub fn action(passes: bool) -> u32 {
    if passes { XDP_PASS } else { XDP_DROP }
}

impl LoadedFirewall {
    /// Loads the programs with these fast-path accelerations.
    pub fn new(accelerations: u32) -> Self {
        let (lab, bpffs) = (Lab::new().unwrap(), Path::new(BPFFS));
        let (programs, _) = load(bpffs, accelerations);
        let kernel = Kernel::open(bpffs).unwrap();
        Self {
            live: kernel.live().unwrap(),
            kernel,
            firewall: Probe::firewall(bpffs).unwrap(),
            probe: Probe::pinned(bpffs).unwrap(),
            _programs: programs,
            _lab: lab,
        }
    }

    /// Replaces what is in force by these rule files and guarded ports.
    pub fn put_in_force(&mut self, files: &[impl Display], guarded: &[RangeInclusive<u16>]) {
        self.live = put_in_force(Path::new(BPFFS), files, guarded);
    }

    /// As [`Self::put_in_force`], with both kinds of guarded ports, and with local blocks.
    pub fn put_guards_in_force(&mut self, files: &[impl Display], guards: Guards, blocks: Vec<LocalBlock>) {
        self.live = put_guards_in_force(Path::new(BPFFS), files, guards, blocks);
    }
}

/// Loads and pins the programs and empty maps below `bpffs_dir`, with these fast-path accelerations.
pub fn load(bpffs_dir: &Path, accelerations: u32) -> (Programs, Pins) {
    let pins = Pins::new(bpffs_dir);
    pins.create().unwrap();
    let mut programs = Programs::load_with(&pins, MapSizes::for_databases(16), accelerations).unwrap();
    programs.pin(&pins).unwrap();
    (programs, pins)
}

/// Returns the desired state of rule files and guarded ports.
pub fn desired(files: &[impl Display], guarded: &[RangeInclusive<u16>]) -> Desired {
    desired_with(files, guarded.iter().cloned().flatten().collect())
}

fn desired_with(files: &[impl Display], guarded: Guards) -> Desired {
    let limits = Limits { max_rules: 30, allow_monitor: true, node_name: Some("db-host-1".into()) };
    let mut desired = Desired { guarded, ..Desired::default() };
    for file in files {
        let file = file.to_string();
        let read = read_database(file.as_bytes(), &limits);
        let checked = read.unwrap_or_else(|problems| panic!("{problems:?} in\n{file}"));
        desired.add(&checked.value, &ManagedRanges::default(), Timestamp::now());
    }
    desired
}

/// Puts rule files and guarded ports in force; returns the live state.
pub fn put_in_force(bpffs_dir: &Path, files: &[impl Display], guarded: &[RangeInclusive<u16>]) -> Live {
    put_guards_in_force(bpffs_dir, files, guarded.iter().cloned().flatten().collect(), Vec::new())
}

fn put_guards_in_force(
    bpffs_dir: &Path,
    files: &[impl Display],
    guards: Guards,
    local_blocks: Vec<LocalBlock>,
) -> Live {
    let mut kernel = Kernel::open(bpffs_dir).unwrap();
    let mut live = kernel.live().unwrap();
    let done = publish(
        &Desired { local_blocks, ..desired_with(files, guards) },
        &mut live,
        &mut kernel,
        Timestamp::now(),
    );
    assert!(done.failed.is_empty() && done.errors.is_empty(), "{done:?}");
    live
}
