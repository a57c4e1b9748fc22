//! Publishes that fail, or end with their process, at any point.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use firewall_agent::bpf::{Kernel, Probe};
use firewall_agent::sync::{
    BlockReplacement, CounterId, DataPlane, DatabaseSlot, Guards, Ports, Replacement, RuleCounter, Sizes,
    Table, publish,
};
use firewall_common::Reason;
use jiff::Timestamp;

use crate::LoadedPrograms;
use crate::questions::{of_first_set, questions};
use crate::rule_sets::{Set, desired, prefixes};

#[test]
fn publish_interrupted_at_any_write_is_safe_and_completed_by_the_next() {
    let loaded = LoadedPrograms::new();
    let mut revision = 1;
    let mut next = || {
        revision += 1;
        revision
    };
    loaded.publish(Set::First, false, next());
    for writes in 0.. {
        let mut data_plane =
            InterruptedDataPlane { kernel: Kernel::open(&loaded.bpffs_dir).unwrap(), writes };
        let mut live = data_plane.kernel.live().unwrap();
        let done = publish(&desired(Set::Second, true, next()), &mut live, &mut data_plane, Timestamp::now());
        loaded.assert_correct_verdicts(&format!("cut off after {writes} writes"));
        if done.failed.is_empty() && done.errors.is_empty() {
            assert!(writes > 5, "a publish of {writes} writes proves little");
            return;
        }
        for (set, neighbour) in [(Set::Second, true), (Set::First, false)] {
            loaded.restart();
            loaded.publish(set, neighbour, next());
            loaded.assert_correct_verdicts(&format!("made good after {writes} writes"));
            let live = Kernel::open(&loaded.bpffs_dir).unwrap().live().unwrap();
            assert_eq!(prefixes(&live), (set.v4(), set.v6()), "made good after {writes} writes");
        }
    }
}

#[test]
fn failed_publish_leaves_the_old_set_and_restart_removes_leftovers() {
    let loaded = LoadedPrograms::new();
    loaded.publish(Set::First, false, 1);
    let before = loaded.pins("sources");
    let mut kernel = Kernel::open(&loaded.bpffs_dir).unwrap();
    let mut live = kernel.live().unwrap();
    // A directory at the pin path of the IPv6 trie makes its pin fail; the IPv4 trie is built by then.
    let generation = live.generation + 1;
    let obstacle = loaded.bpffs_dir.join(format!("v3/sources/v6-0-{generation}"));
    fs::create_dir(&obstacle).unwrap();
    let done = publish(&desired(Set::Second, false, 2), &mut live, &mut kernel, Timestamp::now());
    let error = format!("{:#}", done.failed.values().next().unwrap());
    assert!(error.contains(&*obstacle.to_string_lossy()), "{error}");
    loaded.assert_first_set();

    fs::remove_dir(&obstacle).unwrap();
    let left: Vec<PathBuf> = loaded.pins("sources").into_iter().filter(|pin| !before.contains(pin)).collect();
    assert_eq!(left.len(), 1, "built and not published: {left:?}");
    loaded.restart();
    assert_eq!(loaded.pins("sources"), before);
    loaded.assert_first_set();
}

impl LoadedPrograms {
    /// Performs the steps of an agent before it reads any file.
    pub fn restart(&self) {
        let mut kernel = Kernel::open(&self.bpffs_dir).unwrap();
        kernel.remove_stale();
        let live = kernel.live().unwrap();
        kernel.adopt(&live).unwrap();
    }

    pub fn assert_correct_verdicts(&self, when: &str) {
        let probe = Probe::pinned(&self.bpffs_dir).unwrap();
        for question in questions() {
            let reason = probe.answer(&question.frame, None).unwrap().reason;
            assert!(question.right.contains(&reason), "{when}: {}: {}", question.name, reason.name());
        }
    }

    fn assert_first_set(&self) {
        let live = Kernel::open(&self.bpffs_dir).unwrap().live().unwrap();
        assert_eq!(prefixes(&live), (Set::First.v4(), Set::First.v6()));
        let probe = Probe::pinned(&self.bpffs_dir).unwrap();
        for frame in of_first_set() {
            assert_eq!(probe.answer(&frame, None).unwrap().reason, Reason::Allowed);
        }
        self.assert_correct_verdicts("after a failed publish");
    }
}

/// The kernel, for a process that dies after `writes` writes.
struct InterruptedDataPlane {
    kernel: Kernel,
    writes: u32,
}

impl InterruptedDataPlane {
    fn alive(&mut self) -> Result<&mut Kernel> {
        let Some(left) = self.writes.checked_sub(1) else { bail!("dead") };
        self.writes = left;
        Ok(&mut self.kernel)
    }
}

impl DataPlane for InterruptedDataPlane {
    fn sizes(&self) -> Sizes {
        self.kernel.sizes()
    }

    fn set_ports(&mut self, claimed: &Ports, guarded: &Guards) -> Result<()> {
        self.alive()?.set_ports(claimed, guarded)
    }

    fn set_counter(&mut self, slot: CounterId, counter: &RuleCounter) -> Result<()> {
        self.alive()?.set_counter(slot, counter)
    }

    fn free_counter(&mut self, slot: CounterId) -> Result<()> {
        self.alive()?.free_counter(slot)
    }

    fn publish_sources(&mut self, together: &[Replacement<'_>]) -> Vec<Result<()>> {
        // One by one, so that it can die between any two.
        let mut one = |one| self.alive()?.publish_sources(&[one]).remove(0);
        together.iter().map(|replacement| one(*replacement)).collect()
    }

    fn synchronize(&mut self) -> Result<()> {
        self.alive()?.synchronize()
    }

    fn free_database(&mut self, slot: DatabaseSlot) -> Result<()> {
        self.alive()?.free_database(slot)
    }

    fn publish_table(&mut self, table: &Table) -> Result<()> {
        self.alive()?.publish_table(table)
    }

    fn publish_blocks(&mut self, list: &BlockReplacement<'_>) -> Result<()> {
        self.alive()?.publish_blocks(list)
    }
}
