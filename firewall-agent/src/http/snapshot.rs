//! What the agent's loop last had to say, and never changes again.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::status::Status;
use crate::sync::{LineKind, Live, RuleSlot};

/// Packets, and bytes of whole frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub packets: u64,
    pub bytes: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// The agent at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Without counters.
    pub status: Status,
    /// By database id.
    pub lines: BTreeMap<String, Lines>,
    /// Databases whose file is taken and not in force yet, and since when.
    pub waiting: BTreeMap<String, Timestamp>,
    /// Whether everything that was taken is in force.
    pub settled: bool,
}

/// The lines that a database's packets are counted on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// Counts what no rule allows.
    pub default: RuleSlot,
    /// Rules and internal ranges.
    pub allowing: Vec<RuleSlot>,
    /// What rules and internal ranges that left had counted.
    pub retired: Tally,
    /// How many of `allowing` are the customer's.
    pub rules: usize,
}

impl Lines {
    /// The lines of every live database, by its id.
    #[must_use]
    pub fn of(live: &Live) -> BTreeMap<String, Self> {
        let mut slots: BTreeMap<_, Self> = live
            .databases
            .iter()
            .map(|(slot, database)| (*slot, Self { default: database.default_line, ..Self::default() }))
            .collect();
        for (line, named) in &live.lines {
            let Some(lines) = slots.get_mut(&named.database) else { continue };
            match named.kind {
                LineKind::Default => continue,
                LineKind::Custom | LineKind::Managed(_) => lines.rules += 1,
                // A prefix of a rule that counts by itself is no rule.
                LineKind::Prefix(_) | LineKind::Internal => {}
            }
            lines.allowing.push(*line);
        }
        let id = |slot| live.databases.get(&slot).map(|database| database.id.to_string());
        slots.into_iter().filter_map(|(slot, lines)| Some((id(slot)?, lines))).collect()
    }
}
