//! Counts of events, faults and passes: a change of the histories cannot weaken them unnoticed.

use std::fmt::{self, Debug, Formatter};
use std::ops::Add;

/// An event of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Any event.
    Event,
    /// A file that is late, truncated, duplicated, invalid or missing.
    File,
    Clock,
    /// An issued list of blocked ranges.
    Blocked,
    /// A full, read-only, flaky, slow or hanging disk.
    Disk,
    /// A disk operation at which the agent is killed.
    DiskKill,
    /// A refused kernel write, a kill at one, or an unreadable kernel.
    Kernel,
    /// A kill between two passes.
    Kill,
    Restart,
    Reboot,
    Upgrade,
    /// A verb of an operator.
    Verb,
    /// An entry added to the overlay, or dropped.
    Overlay,
    /// A pass in which every write was accepted.
    Finished,
    /// A pass that ended with a refused write, or without an agent.
    Refused,
    /// A pass or verb that was killed in the middle.
    Killed,
    /// A boot that restored the earlier revision in force because the newer one did not fit.
    Restored,
}

const COUNTS: [Count; 17] = [
    Count::Event,
    Count::File,
    Count::Clock,
    Count::Blocked,
    Count::Disk,
    Count::DiskKill,
    Count::Kernel,
    Count::Kill,
    Count::Restart,
    Count::Reboot,
    Count::Upgrade,
    Count::Verb,
    Count::Overlay,
    Count::Finished,
    Count::Refused,
    Count::Killed,
    Count::Restored,
];

#[derive(Clone, Copy, Default)]
pub struct Tally([u32; COUNTS.len()]);

impl Tally {
    pub fn add(&mut self, count: Count) {
        self.0[count as usize] += 1;
    }

    /// Returns `true` when every event happens in one history of eight, and a restored revision in one of 200.
    pub fn is_enough(&self, histories: u64) -> bool {
        COUNTS.into_iter().zip(self.0).all(|(count, number)| {
            let one_in = if count == Count::Restored { 200 } else { 8 };
            u64::from(number) >= histories / one_in
        })
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] + other.0[at]))
    }
}

impl Debug for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(COUNTS.into_iter().zip(self.0)).finish()
    }
}
