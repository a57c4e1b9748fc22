//! The loaded programs and the model, compared under one policy.

use std::cell::RefCell;
use std::collections::BTreeMap;

use firewall_agent::bpf::Answer;
use firewall_agent::sync::CounterId;
use firewall_common::Reason;
use jiff::Timestamp;

use crate::decision::{Decision, decide};
use crate::kernel::{self, LoadedFirewall};
use crate::loading::put_policy_in_force;
use crate::policy::Policy;

pub struct Comparison<'a> {
    policy: &'a Policy,
    loaded: LoadedFirewall,
    /// Expected counts, by reason and by counter.
    expected: RefCell<BTreeMap<(Reason, CounterId), Expected>>,
    /// Number of the policy's rule for each rule counter of the kernel.
    rules: BTreeMap<CounterId, u32>,
}

/// Packets, and bounds of their bytes: padding outside the frame's linear memory may be left out.
#[derive(Clone, Copy, Default)]
struct Expected {
    packets: u64,
    least: u64,
    most: u64,
}

impl Expected {
    fn and(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            least: self.least + other.least,
            most: self.most + other.most,
        }
    }

    fn covers(self, packets: u64, bytes: u64) -> bool {
        packets == self.packets && (self.least..=self.most).contains(&bytes)
    }
}

impl<'a> Comparison<'a> {
    /// Loads the programs with these accelerations.
    pub fn new(policy: &'a Policy, accelerations: u32) -> Self {
        let loaded = LoadedFirewall::new(accelerations);
        let mut comparison = Self { policy, loaded, rules: BTreeMap::new(), expected: RefCell::default() };
        comparison.put_in_force(policy);
        comparison
    }

    /// Replaces the policy in force.
    pub fn put_in_force(&mut self, policy: &'a Policy) {
        put_policy_in_force(&mut self.loaded, policy);
        self.rules = self
            .loaded
            .live
            .counters
            .iter()
            .filter_map(|(slot, counter)| Some((*slot, counter.id.parse().ok()?)))
            .collect();
        self.policy = policy;
    }

    /// Returns the probe program's verdict in the model's terms; `linear` is the length of the linear memory, in bytes.
    pub fn answer(&self, frame: &[u8], linear: Option<usize>) -> Decision {
        self.decision(self.loaded.probe.answer(frame, linear).unwrap())
    }

    fn decision(&self, answer: Answer) -> Decision {
        let rule =
            (answer.reason == Reason::Allowed).then(|| self.rules.get(&answer.counter).copied()).flatten();
        Decision { reason: answer.reason.name(), rule }
    }

    /// Compares probe program, firewall and model on one frame and returns the reason. The firewall runs twice, the
    /// second time with everything that it cached in the first.
    pub fn compare(&self, frame: &[u8], linear: Option<usize>, what: &str) -> &'static str {
        let (expected, probed) =
            (decide(self.policy, frame), self.loaded.probe.answer(frame, linear).unwrap());
        let answer = self.decision(probed);
        // The model names a rule only where the verdict depends on one: at a port.
        let same =
            answer.reason == expected.reason && (expected.rule.is_none() || answer.rule == expected.rule);
        assert!(same, "{what}: the model says {expected:?}, the program {answer:?}: {}", hex::encode(frame));
        let passes = ["not_ip", "not_protected", "allowed", "would_deny"].contains(&expected.reason);
        for _ in 0..2 {
            let action = self.loaded.firewall.run(frame, linear).unwrap();
            assert_eq!(action, kernel::action(passes), "{what}: {}: {}", expected.reason, hex::encode(frame));
            let most = frame.len() as u64;
            let least = linear.map_or(most, |linear| linear as u64);
            let mut counts = self.expected.borrow_mut();
            let count = counts.entry((probed.reason, probed.counter)).or_default();
            *count = count.and(Expected { packets: 1, least, most });
        }
        expected.reason
    }

    /// Requires that every packet was counted once on its reason and on its counter, cached verdict or not.
    pub fn compare_counters(&self, what: &str) {
        let counts = self.expected.borrow();
        let sum = |wanted: &dyn Fn(&(Reason, CounterId)) -> bool| {
            let counted = counts.iter().filter(|(key, _)| wanted(key)).map(|(_, count)| *count);
            counted.fold(Expected::default(), Expected::and)
        };
        for reason in Reason::ALL {
            let tally = self.loaded.kernel.reason(reason).unwrap();
            let expected = sum(&|key| key.0 == reason);
            assert!(expected.covers(tally.packets, tally.bytes), "{what}: {}: {tally:?}", reason.name());
        }
        for counter in
            counts.keys().map(|(_, counter)| *counter).filter(|counter| *counter != CounterId::NONE)
        {
            let hits = self.loaded.kernel.hits(counter).unwrap();
            let expected = sum(&|key| key.1 == counter);
            assert!(expected.covers(hits.packets, hits.bytes), "{what}: counter {counter}: {hits:?}");
            let age = Timestamp::now().duration_since(hits.last.unwrap());
            assert!((0..=600).contains(&age.as_secs()), "{what}: counter {counter} was last hit {age} ago");
        }
    }
}
