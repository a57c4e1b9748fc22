//! Counts and failures of this daemon's repairs.

use std::collections::BTreeMap;

use crate::status::event;
use anyhow::Result;
use tracing::warn;

/// Kinds of repairs.
const KINDS: [&str; 12] = [
    "blocks",
    "endpoints",
    "filters",
    "generation",
    "link",
    "link_pin",
    "link_program",
    "pin",
    "ports",
    "recorders",
    "socket_link",
    "sources",
];

/// Counts by kind, and failed repairs.
#[derive(Debug)]
pub(super) struct Repairs {
    counts: BTreeMap<&'static str, u64>,
    /// Failures by kind.
    failures: BTreeMap<&'static str, String>,
    /// The agent has repaired something since [`Self::begin`].
    disturbed: bool,
}

impl Default for Repairs {
    fn default() -> Self {
        // Zeros from the start: a scraper sees the first repair as an increase.
        let counts = KINDS.into_iter().map(|kind| (kind, 0)).collect();
        Self { counts, failures: BTreeMap::new(), disturbed: false }
    }
}

impl Repairs {
    /// Starts a drift check.
    pub fn begin(&mut self) {
        self.disturbed = false;
    }

    /// Counts one repair.
    pub fn count(&mut self, kind: &'static str) {
        *self.counts.entry(kind).or_default() += 1;
        self.disturbed = true;
    }

    /// Records the result of a repair: the number of repaired objects, or the error.
    pub fn done(&mut self, kind: &'static str, repaired: Result<u64>) {
        match repaired {
            Ok(number) => {
                if number > 0 {
                    warn!(kind, number, event = event::DRIFT, "drift repaired");
                    *self.counts.entry(kind).or_default() += number;
                    self.disturbed = true;
                }
                self.succeeded(kind);
            }
            Err(error) => self.failed(kind, &error),
        }
    }

    /// Clears the failure of this kind.
    pub fn succeeded(&mut self, kind: &'static str) {
        self.failures.remove(kind);
    }

    /// Records a failed repair.
    pub fn failed(&mut self, kind: &'static str, error: &anyhow::Error) {
        self.failures.insert(kind, format!("{error:#}"));
    }

    /// Returns `true` if the last drift check repaired anything.
    pub fn is_disturbed(&self) -> bool {
        self.disturbed
    }

    /// Messages of the objects that cannot be repaired, by kind.
    pub fn failures(&self) -> impl Iterator<Item = (String, String)> {
        self.failures.iter().map(|(kind, message)| ((*kind).to_owned(), message.clone()))
    }

    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.iter().map(|(kind, number)| ((*kind).to_owned(), *number)).collect()
    }
}
