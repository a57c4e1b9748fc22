//! Immutable report of the event loop for the HTTP thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use firewall_common::Tally;
use jiff::Timestamp;

use crate::status::Status;
use crate::sync::{CounterId, CounterKind, Live};

/// State of the agent at one moment.
#[derive(Debug, Clone, Default)]
pub struct PublishedState {
    /// Without counters.
    pub status: Status,
    /// Rule counters by database id.
    pub counters: Arc<BTreeMap<String, DatabaseCounters>>,
    /// Databases with an accepted file that is not in force yet, and since when.
    pub waiting: BTreeMap<String, Timestamp>,
    /// True if every accepted file is in force.
    pub all_in_force: bool,
}

/// Rule counters of one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseCounters {
    /// Counter of packets that no rule allows.
    pub default: CounterId,
    /// Counters of rules and internal ranges.
    pub allowing: Vec<CounterId>,
    /// Sum of the counters of removed rules and internal ranges.
    pub retired: Tally,
    /// Number of customer rules in `allowing`.
    pub rules: usize,
}

impl DatabaseCounters {
    /// Rule counters of every live database, by its id.
    #[must_use]
    pub fn of(live: &Live) -> BTreeMap<String, Self> {
        let mut slots: BTreeMap<_, Self> = live
            .databases
            .iter()
            .map(|(slot, database)| (*slot, Self { default: database.default_counter, ..Self::default() }))
            .collect();
        for (counter, named) in &live.counters {
            let Some(counters) = slots.get_mut(&named.database) else { continue };
            match named.kind {
                CounterKind::Default => continue,
                CounterKind::Custom | CounterKind::Managed(_) => counters.rules += 1,
                // A prefix with a counter of its own is part of a rule, not a rule.
                CounterKind::Prefix(_)
                | CounterKind::Internal
                | CounterKind::LocalAllow
                | CounterKind::BlockedRange
                | CounterKind::LocalBlock => {}
            }
            counters.allowing.push(*counter);
        }
        let id = |slot| live.databases.get(&slot).map(|database| database.id.to_string());
        slots.into_iter().filter_map(|(slot, counters)| Some((id(slot)?, counters))).collect()
    }
}
