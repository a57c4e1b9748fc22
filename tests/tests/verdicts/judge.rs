//! The loaded programs under one policy, and the outcome of a packet.

use std::ops::RangeInclusive;
use std::path::Path;

use firewall_agent::bpf::{Answer, Probe};
use firewall_agent::sync::{CounterId, Guards, LocalBlock, Ports};
use firewall_common::{Reason, Tally, fast_path};
use firewall_tests::lab::RuleFile;

use crate::kernel::{self, BPFFS, LoadedFirewall};
use crate::policy::Policy;

/// The outcome of one packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub reason: Reason,
    /// Id of the rule whose counter was incremented; empty for a default counter.
    pub rule: Option<String>,
}

/// Loads the programs and puts the policy's files and guarded ports in force.
pub fn in_force(policy: &Policy) -> LoadedFirewall {
    let files = |revision, files: &[fn(u64) -> RuleFile]| -> Vec<RuleFile> {
        files.iter().map(|file| file(revision)).collect()
    };
    let mut loaded = LoadedFirewall::new(fast_path::ALL);
    if !policy.before.is_empty() {
        loaded.put_in_force(&files(1, policy.before), &[]);
    }
    let ports = |ranges: &[RangeInclusive<u16>]| ranges.iter().cloned().flatten().collect::<Ports>();
    let guards = Guards::new(ports(policy.guarded), &ports(policy.new_connections));
    let block = |(id, source, database): &(&str, &str, Option<&str>)| LocalBlock {
        id: id.parse().unwrap(),
        source: source.parse().unwrap(),
        database: database.map(|database| database.parse().unwrap()),
        note: String::new(),
    };
    let blocks = policy.blocks.iter().map(block).collect();
    loaded.put_guards_in_force(&files(2, policy.files), guards, blocks);
    loaded
}

impl LoadedFirewall {
    /// Replaces the firewall by the probe program, which counts nothing.
    pub fn without_counters(mut self) -> Self {
        self.firewall = Probe::pinned(Path::new(BPFFS)).unwrap();
        self
    }

    /// Runs the program on a frame; panics unless this packet increments exactly one reason's counter, and the action
    /// and the probe program's verdict agree with it.
    pub fn judge(&self, frame: &[u8], linear: Option<usize>) -> Outcome {
        let (tallies, hits) = (self.tallies(), self.hits());
        let action = self.firewall.run(frame, linear).unwrap();
        let moved: Vec<(Reason, u64, u64)> = Reason::ALL
            .into_iter()
            .zip(tallies.iter().zip(self.tallies()))
            .filter(|(_, (before, after))| **before != *after)
            .map(|(reason, (before, after))| {
                (reason, after.packets - before.packets, after.bytes - before.bytes)
            })
            .collect();
        let [(reason, packets, bytes)] = moved[..] else { panic!("not one counter moved: {moved:?}") };
        assert_eq!((packets, bytes), (1, frame.len() as u64), "{} counted wrongly", reason.name());
        assert_eq!(action, kernel::action(reason.passes()), "action of {}", reason.name());

        let counters: Vec<CounterId> =
            hits.iter().zip(self.hits()).filter(|(a, b)| **a != *b).map(|(a, _)| a.0).collect();
        assert!(counters.len() <= 1, "more than one rule counter moved: {counters:?}");
        let answer = self.probe.answer(frame, linear).unwrap();
        let expected = Answer { reason, counter: counters.first().copied().unwrap_or(CounterId::NONE) };
        assert_eq!(answer, expected, "the probe and the program differ");
        Outcome { reason, rule: counters.first().map(|slot| self.live.counters[slot].id.clone()) }
    }

    /// Returns each program's name and the number of instructions that the verifier processed for it.
    pub fn verified_instructions(&self) -> [(&'static str, u32); 2] {
        [("firewall", &self.firewall), ("probe", &self.probe)]
            .map(|(name, program)| (name, program.verified_instructions().unwrap()))
    }

    fn tallies(&self) -> Vec<Tally> {
        Reason::ALL.into_iter().map(|reason| self.kernel.reason(reason).unwrap()).collect()
    }

    fn hits(&self) -> Vec<(CounterId, u64)> {
        self.live.counters.keys().map(|slot| (*slot, self.kernel.hits(*slot).unwrap().packets)).collect()
    }
}
