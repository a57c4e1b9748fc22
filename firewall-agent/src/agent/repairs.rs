//! What this daemon found other than it had left it, and put right.

use std::collections::BTreeMap;

use anyhow::Result;
use tracing::warn;

/// Everything that can be repaired.
const KINDS: [&str; 10] = [
    "endpoints",
    "filters",
    "generation",
    "link",
    "link_pin",
    "link_program",
    "pin",
    "ports",
    "recorders",
    "sources",
];

/// Counts by kind, and what could not be repaired.
#[derive(Debug)]
pub(super) struct Repairs {
    counts: BTreeMap<&'static str, u64>,
    /// By kind.
    troubles: BTreeMap<&'static str, String>,
    /// Something was repaired since [`Self::begin`].
    disturbed: bool,
}

impl Default for Repairs {
    fn default() -> Self {
        // Zeros from the start: what scrapes them sees the first repair as a rise.
        let counts = KINDS.into_iter().map(|kind| (kind, 0)).collect();
        Self { counts, troubles: BTreeMap::new(), disturbed: false }
    }
}

impl Repairs {
    /// A look begins.
    pub fn begin(&mut self) {
        self.disturbed = false;
    }

    /// Takes note of one repair.
    pub fn count(&mut self, kind: &'static str) {
        *self.counts.entry(kind).or_default() += 1;
        self.disturbed = true;
    }

    /// Takes note of how a repair went: how many things were put right.
    pub fn done(&mut self, kind: &'static str, repaired: Result<u64>) {
        match repaired {
            Ok(number) => {
                if number > 0 {
                    warn!(kind, number, "drift repaired");
                    *self.counts.entry(kind).or_default() += number;
                    self.disturbed = true;
                }
                self.settled(kind);
            }
            Err(error) => self.failed(kind, &error),
        }
    }

    /// Nothing of this kind is wrong any more.
    pub fn settled(&mut self, kind: &'static str) {
        self.troubles.remove(kind);
    }

    /// Takes note of what cannot be put right.
    pub fn failed(&mut self, kind: &'static str, error: &anyhow::Error) {
        self.troubles.insert(kind, format!("{error:#}"));
    }

    /// Whether the last look found anything to repair.
    pub fn is_disturbed(&self) -> bool {
        self.disturbed
    }

    /// Messages of the objects that cannot be repaired, by kind.
    pub fn failures(&self) -> impl Iterator<Item = (String, String)> {
        self.troubles.iter().map(|(kind, message)| ((*kind).to_owned(), message.clone()))
    }

    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.iter().map(|(kind, number)| ((*kind).to_owned(), *number)).collect()
    }
}
