//! The observation of one case under one rule set.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::rule_set::{ALLOWED, RuleSet, passes};
use crate::tally::Tally;

/// Number of frames in a report.
const SHOWN: usize = 5;

#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Frames without those of the established connections: recorded ones, or in a flood those that the interface took.
    pub sent: u64,
    /// Recorded frames that the rule set refuses which allows no tool, and how many of them passed the program.
    pub aimed: u64,
    pub aimed_passed: u64,
    /// Recorded frames that the rule set in force passes, and frames after the program.
    pub passing: u64,
    pub passed: u64,
    /// IP packets that the host's network stack received.
    pub received: u64,
    /// Frames after the program that the model refuses, and the first of them in hexadecimal.
    pub leaks: u64,
    pub leaked: BTreeSet<String>,
    /// Answers from protected ports and datagrams at the socket, to and from sources that the rule set allows, without
    /// the established connections.
    pub delivered_of_allowed: u64,
    /// The same for all other sources.
    pub delivered_of_denied: u64,
    /// Packets by reason: expected by the model, and counted by the program.
    pub expected: Tally,
    pub counted: Tally,
    /// Longest time of an answer in an established connection.
    pub slowest: Duration,
    pub took: Duration,
    /// End of the tool's output.
    pub output: String,
}

impl Observed {
    /// Records a frame that was sent.
    pub fn sent(&mut self, frame: &[u8], rules: &RuleSet, strict: &RuleSet) {
        let reason = rules.reason(frame);
        self.expected.add(reason, frame.len());
        self.passing += u64::from(passes(reason));
        self.sent += u64::from(!RuleSet::is_of_session(frame));
        self.aimed += u64::from(!passes(strict.reason(frame)));
    }

    /// Records a frame after the program.
    pub fn passed(&mut self, frame: &[u8], rules: &RuleSet, strict: &RuleSet) {
        self.passed += 1;
        self.aimed_passed += u64::from(!passes(strict.reason(frame)));
        if !passes(rules.reason(frame)) {
            self.leaks += 1;
            if self.leaked.len() < SHOWN {
                self.leaked.insert(hex::encode(frame));
            }
        }
    }

    /// Records an answer to this address, or a datagram from it.
    pub fn delivered(&mut self, peer: IpAddr, rules: &RuleSet) {
        if ALLOWED.iter().any(|one| one.parse() == Ok(peer)) {
            return;
        }
        if rules.allows(peer) {
            self.delivered_of_allowed += 1;
        } else {
            self.delivered_of_denied += 1;
        }
    }

    /// Returns the packets that the program refused.
    pub fn refused(&self) -> u64 {
        self.counted.packets_if(|reason| !passes(reason))
    }
}
