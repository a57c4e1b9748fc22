//! Databases whose allow lists are replaced together: the kernel waits for its packets once, not once for each.

use anyhow::Result;

use super::{
    model::{Database, Live, Slot, Stamp},
    plane::{DataPlane, Families, Replacement},
};

/// While a batch is published, old and new lists are both in memory: bounds of what is new.
const MOST_DATABASES: usize = 64;
const MOST_PREFIXES: usize = 32_768;

/// What waits to be published. The databases are noted as live without a stamp, which says that their tries may hold
/// anything.
#[derive(Debug, Default)]
pub(super) struct Batch {
    waiting: Vec<(Slot, Families, Option<Stamp>)>,
    prefixes: usize,
}

impl Batch {
    pub fn add(&mut self, slot: Slot, database: Database, changed: Families, live: &mut Live) {
        self.prefixes += database.sources.len();
        self.waiting.push((slot, changed, database.stamp.clone()));
        live.databases.insert(slot, Database { stamp: None, ..database });
    }

    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_DATABASES || self.prefixes >= MOST_PREFIXES
    }

    /// Publishes what waits; what became of each.
    pub fn publish(&mut self, live: &mut Live, plane: &mut impl DataPlane) -> Vec<(Slot, Result<()>)> {
        let waiting = std::mem::take(self).waiting;
        for (slot, _, stamp) in &waiting {
            if let Some(database) = live.databases.get_mut(slot) {
                database.stamp.clone_from(stamp);
            }
        }
        let databases = &live.databases;
        let together: Vec<Replacement<'_>> = waiting
            .iter()
            .filter_map(|(slot, changed, _)| {
                Some(Replacement { slot: *slot, database: databases.get(slot)?, changed: *changed })
            })
            .collect();
        let results = if together.is_empty() { Vec::new() } else { plane.publish_sources(&together) };
        let results: Vec<_> = waiting.into_iter().map(|(slot, ..)| slot).zip(results).collect();
        for (slot, result) in &results {
            // After a failure what is in force may be a mix of families: the next publish replaces both.
            if result.is_err()
                && let Some(database) = live.databases.get_mut(slot)
            {
                database.stamp = None;
            }
        }
        results
    }
}
