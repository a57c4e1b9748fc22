//! Counts of rules in the store: the start of each, and hits from before the last boot.

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;

use crate::agent::counters_identity;
use crate::bpf::{CounterHits, Kernel};
use crate::files::store::{LastGoodStore, StateFile};
use crate::rules::DatabaseId;
use crate::sync::{Record, RuleCounter, StoredHits};

/// The stored counts.
#[derive(Debug, Default)]
pub(super) struct CountMemory {
    hits: StoredHits,
    /// Identity of the kernel's counters.
    counters: String,
    /// Reason for which the store could not be read: the kernel's counters are then everything.
    pub problem: Option<String>,
}

impl CountMemory {
    pub fn read(state_dir: &Path, kernel: &Kernel) -> Self {
        Self::try_read(state_dir, kernel).unwrap_or_else(|error| Self {
            problem: Some(format!("hits before the last boot: {error:#}")),
            ..Self::default()
        })
    }

    fn try_read(state_dir: &Path, kernel: &Kernel) -> Result<Self> {
        let (mut hits, counters) = (StoredHits::default(), counters_identity(kernel)?);
        for record in LastGoodStore::new(StateFile::new(state_dir)).load()? {
            match record {
                Record::Hits(id, of) => hits.load(id, of),
                Record::CountersOf(identity) => hits.load_counters(identity),
                Record::File(..)
                | Record::Ranges(..)
                | Record::Claim(..)
                | Record::Floor(..)
                | Record::InForce(..)
                | Record::Retired(..)
                | Record::ClockMark(_)
                | Record::Detached(_)
                | Record::RangeNotice(..)
                | Record::Overlay(..) => {}
            }
        }
        Ok(Self { hits, counters, problem: None })
    }

    /// Adds the hits of a rule that the kernel does not have; returns the start of its count.
    pub fn add_to(
        &self,
        total: &mut CounterHits,
        database: &DatabaseId,
        rule: &RuleCounter,
    ) -> Option<Timestamp> {
        let hits = self.hits.of(database, rule)?;
        let beyond = self.hits.beyond(hits, &self.counters);
        total.packets += beyond.packets;
        total.bytes += beyond.bytes;
        total.last = total.last.max(hits.last);
        Some(hits.since)
    }
}
