//! Allow lists that are replaced together, with one wait for running programs instead of one per database.

use anyhow::Result;

use super::{
    data_plane::{DataPlane, Families, Replacement},
    model::{Database, DatabaseSlot, Live, Stamp},
};

/// Bounds of the new lists in one batch: until it is published, old and new lists are both in memory.
const MOST_DATABASES: usize = 64;
const MOST_PREFIXES: usize = 32_768;

/// Replacements that wait to be published. Their databases are live without a stamp meanwhile: their tries may contain
/// anything.
#[derive(Debug, Default)]
pub(super) struct Batch {
    waiting: Vec<(DatabaseSlot, Families, Option<Stamp>)>,
    prefixes: usize,
}

impl Batch {
    pub fn add(&mut self, slot: DatabaseSlot, database: Database, changed: Families, live: &mut Live) {
        self.prefixes += database.sources.len();
        self.waiting.push((slot, changed, database.stamp.clone()));
        live.confirmed.remove(slot);
        live.databases.insert(slot, Database { stamp: None, ..database });
    }

    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_DATABASES || self.prefixes >= MOST_PREFIXES
    }

    /// Publishes the waiting replacements and returns the result of each.
    pub fn publish(
        &mut self,
        live: &mut Live,
        data_plane: &mut impl DataPlane,
    ) -> Vec<(DatabaseSlot, Result<()>)> {
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
        let results = if together.is_empty() { Vec::new() } else { data_plane.publish_sources(&together) };
        let results: Vec<_> = waiting.into_iter().map(|(slot, ..)| slot).zip(results).collect();
        for (slot, result) in &results {
            // After a failure the live list may mix old and new families: the next publish replaces both.
            if result.is_err()
                && let Some(database) = live.databases.get_mut(slot)
            {
                database.stamp = None;
            }
        }
        results
    }
}
