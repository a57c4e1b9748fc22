//! The loaded programs and the model, side by side under one policy.

use std::collections::BTreeMap;
use std::path::Path;

use firewall_agent::bpf::{Probe, Programs};
use firewall_common::Reason;
use firewall_tests::lab::Lab;

use crate::decision::{Decision, decide};
use crate::kernel::load;
use crate::loading::put_policy_in_force;
use crate::policy::Policy;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

pub struct Bench<'a> {
    policy: &'a Policy,
    firewall: Probe,
    twin: Probe,
    /// Number of the policy's rule behind each line of the kernel that stands for one.
    rules: BTreeMap<u32, u32>,
    _programs: Programs,
    _lab: Lab,
}

impl<'a> Bench<'a> {
    pub fn new(policy: &'a Policy) -> Self {
        let lab = Lab::new().unwrap();
        let bpffs_dir = Path::new("/sys/fs/bpf/firewall-agent");
        let (programs, _) = load(bpffs_dir);
        let live = put_policy_in_force(bpffs_dir, policy);
        let rules =
            live.lines.iter().filter_map(|(slot, line)| Some((*slot, line.id.parse().ok()?))).collect();
        let (firewall, twin) = (Probe::firewall(bpffs_dir).unwrap(), Probe::twin(bpffs_dir).unwrap());
        Self { policy, firewall, twin, rules, _programs: programs, _lab: lab }
    }

    /// What the twin says, in the model's words; with `linear`, only so many bytes are in one piece of memory.
    pub fn answer(&self, frame: &[u8], linear: Option<usize>) -> Decision {
        let answer = self.twin.ask(frame, linear).unwrap();
        let rule =
            (answer.reason == Reason::Allowed).then(|| self.rules.get(&answer.line).copied()).flatten();
        Decision { reason: answer.reason.name(), rule }
    }

    /// Holds twin, program and model together on one frame, and returns the reason.
    pub fn compare(&self, frame: &[u8], linear: Option<usize>, what: &str) -> &'static str {
        let (expected, answer) = (decide(self.policy, frame), self.answer(frame, linear));
        // The model names a rule only where the verdict rests on one: at a port.
        let same =
            answer.reason == expected.reason && (expected.rule.is_none() || answer.rule == expected.rule);
        assert!(same, "{what}: the model says {expected:?}, the program {answer:?}: {}", hex(frame));
        let passes = ["not_ip", "not_protected", "allowed", "would_deny"].contains(&expected.reason);
        let action = self.firewall.run(frame, linear).unwrap();
        let expected_action = if passes { XDP_PASS } else { XDP_DROP };
        assert_eq!(action, expected_action, "{what}: {}: {}", expected.reason, hex(frame));
        expected.reason
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
