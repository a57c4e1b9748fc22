//! Asks the loaded program whether each database lets in and refuses whom it should.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use crate::bpf::Probe;
use crate::sync::{Live, Sample, Slot, samples};

/// Databases probed at a look: all of them are, round after round, without taking more of a core.
const AT_ONCE: usize = 8;

/// What the last probe of each database said.
#[derive(Debug, Default)]
pub(super) struct Probes {
    failures: BTreeMap<Slot, String>,
    /// Published since the last probe.
    due: BTreeSet<Slot>,
    /// The slot from which the next look goes on.
    next: Slot,
}

impl Probes {
    /// These databases were published.
    pub fn expect(&mut self, slots: impl IntoIterator<Item = Slot>) {
        self.due.extend(slots);
    }

    /// Probes what was published.
    pub fn settle(&mut self, live: &Live, bpffs_dir: &Path) {
        let due = std::mem::take(&mut self.due);
        if !due.is_empty() {
            self.probe(due, live, bpffs_dir);
        }
    }

    fn probe(&mut self, slots: impl IntoIterator<Item = Slot>, live: &Live, bpffs_dir: &Path) {
        self.failures.retain(|slot, _| live.databases.contains_key(slot));
        let twin = Probe::twin(bpffs_dir);
        for (slot, samples) in samples(&slots.into_iter().collect(), live) {
            let asked = twin.as_ref().map_err(|error| format!("{error:#}"));
            let failure =
                asked.and_then(|twin| probe(twin, slot, samples, live).map_err(|error| format!("{error:#}")));
            match failure {
                Ok(None) => _ = self.failures.remove(&slot),
                Ok(Some(message)) | Err(message) => _ = self.failures.insert(slot, message),
            }
        }
    }

    /// Probes some more databases, and again those that failed.
    pub fn next(&mut self, live: &Live, bpffs_dir: &Path) {
        let from_next = live.databases.range(self.next..).chain(live.databases.range(..self.next));
        let mut slots: Vec<Slot> = from_next.map(|(slot, _)| *slot).take(AT_ONCE).collect();
        self.next = slots.last().map_or(0, |last| last + 1);
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

/// What the program decides otherwise than `live` says.
fn probe(twin: &Probe, slot: Slot, samples: Vec<Sample>, live: &Live) -> Result<Option<String>> {
    let Some(database) = live.databases.get(&slot) else { return Ok(None) };
    for Sample { question, passes } in samples {
        let reason = twin.ask_about(&question)?.reason;
        if reason.passes() != passes {
            return Ok(Some(format!(
                "database {}: a packet from {} to {} should {}, but the program says {}",
                database.id,
                question.source,
                question.target,
                if passes { "pass" } else { "be dropped" },
                reason.name()
            )));
        }
    }
    Ok(None)
}
