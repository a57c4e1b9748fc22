//! Probes: checks the verdicts of the loaded program for each database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use crate::bpf::Probe;
use crate::sync::{DatabaseSlot, Live, Sample, samples};

/// Databases probed per drift check: rounds cover all of them and bound the CPU time.
const AT_ONCE: usize = 8;

/// Results of the last probe of each database.
#[derive(Debug, Default)]
pub(super) struct Probes {
    failures: BTreeMap<DatabaseSlot, String>,
    /// Databases published since their last probe.
    due: BTreeSet<DatabaseSlot>,
    /// The slot at which the next round continues.
    next: DatabaseSlot,
}

impl Probes {
    /// Adds published databases to the next probe.
    pub fn add_published(&mut self, slots: impl IntoIterator<Item = DatabaseSlot>) {
        self.due.extend(slots);
    }

    /// Probes the published databases.
    pub fn probe_published(&mut self, live: &Live, bpffs_dir: &Path) {
        let due = std::mem::take(&mut self.due);
        if !due.is_empty() {
            self.probe(due, live, bpffs_dir);
        }
    }

    fn probe(&mut self, slots: impl IntoIterator<Item = DatabaseSlot>, live: &Live, bpffs_dir: &Path) {
        self.failures.retain(|slot, _| live.databases.contains_key(slot));
        let program = Probe::pinned(bpffs_dir);
        for (slot, samples) in samples(&slots.into_iter().collect(), live) {
            let opened = program.as_ref().map_err(|error| format!("{error:#}"));
            let failure = opened.and_then(|program| {
                probe(program, slot, samples, live).map_err(|error| format!("{error:#}"))
            });
            match failure {
                Ok(None) => _ = self.failures.remove(&slot),
                Ok(Some(message)) | Err(message) => _ = self.failures.insert(slot, message),
            }
        }
    }

    /// Probes the next databases, and again those that failed.
    pub fn next(&mut self, live: &Live, bpffs_dir: &Path) {
        let from_next = live.databases.range(self.next..).chain(live.databases.range(..self.next));
        let mut slots: Vec<DatabaseSlot> = from_next.map(|(slot, _)| *slot).take(AT_ONCE).collect();
        self.next = slots.last().map_or_else(DatabaseSlot::default, |last| last.next());
        slots.extend(self.failures.keys().filter(|slot| !slots.contains(slot)).copied().collect::<Vec<_>>());
        self.probe(slots, live, bpffs_dir);
    }

    /// Messages of the failed probes, by database.
    pub fn failures(&self, live: &Live) -> impl Iterator<Item = (String, String)> {
        self.failures.iter().map(|(slot, message)| {
            let database = live.databases.get(slot).map(|database| database.id.to_string());
            (database.unwrap_or_else(|| slot.to_string()), message.clone())
        })
    }
}

/// Difference between the program's verdict and `live`; `None` without one.
fn probe(program: &Probe, slot: DatabaseSlot, samples: Vec<Sample>, live: &Live) -> Result<Option<String>> {
    let Some(database) = live.databases.get(&slot) else { return Ok(None) };
    for Sample { question, passes } in samples {
        let reason = program.answer_to(&question)?.reason;
        if reason.passes() != passes {
            return Ok(Some(format!(
                "database {}: a packet from {} to {} should {}, but the probe program answers {}",
                database.id,
                question.source,
                question.destination,
                if passes { "pass" } else { "be dropped" },
                reason.name()
            )));
        }
    }
    Ok(None)
}
