//! What was taken from the control plane so far: the state that the daemon, the verbs and `plan` go by. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tracing::info;

use super::ledger::Ledger;
use crate::files::store::Loaded;
use crate::rules::{
    DatabaseId, Limits, ManagedRanges, Mode, RangeId, Source, read_database, read_ranges, succeed,
};
use crate::sync::{Admission, Candidate, Desired, Live, Ports, admit, remembered_ranges};

/// The last good files, and what must be remembered about them.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The last good file of each database.
    pub admitted: BTreeMap<DatabaseId, Candidate>,
    /// The last good managed ranges; until a file was ever read, those that the kernel holds.
    pub(super) ranges: ManagedRanges,
    /// The last file of managed ranges, as it was read by this process.
    heard: Option<ManagedRanges>,
    pub(super) ledger: Ledger,
}

impl Taken {
    /// From what was stored; also why some of it cannot be used. The kernel may hold a newer revision than is stored:
    /// of a file that could not be stored.
    #[must_use]
    pub fn recall(loaded: Loaded, live: &Live) -> (Self, Vec<String>) {
        let mut taken = Self {
            admitted: BTreeMap::new(),
            ranges: remembered_ranges(live),
            heard: None,
            ledger: Ledger::default(),
        };
        let mut problems = loaded.problems;
        match loaded.ledger.map(|bytes| serde_json::from_slice(&bytes)) {
            Some(Ok(ledger)) => taken.ledger = ledger,
            Some(Err(error)) => problems.push(format!("stored ledger: {error}")),
            None => {}
        }
        // What was taken once is not measured by today's limits, nor by a host name that may not be there yet.
        let limits = Limits { max_rules: usize::MAX, allow_monitor: true, node_name: None };
        for (id, bytes) in loaded.databases {
            let floor = live.slot(&id).and_then(|slot| live.databases.get(&slot)).map_or(0, |one| one.floor);
            match read_database(&bytes, &limits) {
                Ok(checked) if checked.value.revision >= floor => {
                    let path = taken.ledger.files.iter().find(|(_, owner)| *owner == id.as_str());
                    let path = path.map(|(path, _)| path.clone()).unwrap_or_default();
                    taken.admitted.insert(id, Candidate { path, rules: checked.value });
                }
                Ok(_) => info!(database = %id, "the kernel holds a newer revision than the stored file"),
                Err(errors) => {
                    problems.extend(errors.iter().map(|one| format!("stored file of {id}: {one}")))
                }
            }
        }
        match loaded.ranges.map(|bytes| read_ranges(&bytes)) {
            Some(Ok(checked)) => taken.ranges = checked.value,
            Some(Err(errors)) => problems.extend(errors.iter().map(|one| format!("stored ranges: {one}"))),
            None => {}
        }
        (taken, problems)
    }

    /// Which of `candidates` count.
    #[must_use]
    pub fn judge(&self, candidates: Vec<Candidate>, live: &Live) -> Admission {
        if self.ledger.rebased.is_empty() {
            return admit(candidates, &self.admitted, live);
        }
        let (mut before, mut live) = (self.admitted.clone(), live.clone());
        let rebased = |id: &DatabaseId| self.ledger.rebased.contains(id.as_str());
        before.retain(|id, _| !rebased(id));
        live.databases.values_mut().filter(|one| rebased(&one.id)).for_each(|one| one.floor = 0);
        admit(candidates, &before, &live)
    }

    /// Goes by a new list of managed ranges from now on; returns why it, or some range of it, does not count.
    pub fn take_ranges(&mut self, new: ManagedRanges) -> Vec<String> {
        let (revision, before) = (new.revision, self.ranges.revision);
        if revision < before {
            return vec![format!(
                "stale_revision: revision {revision} is lower than {before}, which is in force"
            )];
        }
        let succession = succeed(&self.ranges, new.clone(), &self.used_ranges());
        // A kept range makes what is in force differ from the file, so a file is compared with the file before it.
        let conflict = match &self.heard {
            Some(heard) => heard.revision == revision && *heard != new,
            None => revision == before && succession.ranges != self.ranges,
        };
        if conflict {
            return vec![format!("revision_conflict: revision {revision} was taken with other contents")];
        }
        self.heard = Some(new);
        self.ranges = succession.ranges;
        succession.kept.iter().map(|(id, reason)| format!("range {id}: {reason}")).collect()
    }

    /// What all these files ask for. Without a configuration's guarded ports, those that are live stay.
    #[must_use]
    pub fn desired(&self, guarded: Ports, monitor: bool, now: Timestamp) -> Desired {
        let mut desired = Desired { guarded, monitor, closed: self.ledger.closed(), ..Desired::default() };
        for candidate in self.admitted.values() {
            desired.add(&candidate.rules, &self.ranges, now);
        }
        if !monitor {
            desired.databases.values_mut().for_each(|database| database.mode = Mode::Enforce);
        }
        desired
    }

    /// The time that expiry has reached, at the least.
    #[must_use]
    pub fn high_water(&self) -> Timestamp {
        self.ledger.high_water
    }

    /// When the next rule expires.
    pub(super) fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        let rules = self.admitted.values().flat_map(|candidate| &candidate.rules.rules);
        rules.filter_map(|rule| rule.expires_at).filter(|at| *at > now).min()
    }

    fn used_ranges(&self) -> BTreeSet<RangeId> {
        let rules = self.admitted.values().flat_map(|candidate| &candidate.rules.rules);
        rules
            .filter_map(|rule| match &rule.source {
                Source::Managed(range) => Some(range.clone()),
                Source::Custom(_) => None,
            })
            .collect()
    }
}
