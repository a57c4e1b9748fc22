//! Admission of rule files: revisions never go back, and a destination belongs to one database.

mod claimants;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use self::claimants::{Claimants, Claims};
use super::{
    desired::destinations,
    model::{Destination, Live},
    persisted::PersistedState,
    record::{Presence, StoredFile},
};
use crate::rules::{Cause, DatabaseId, DatabaseRules, Rejection, State};

/// A valid rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub path: PathBuf,
    pub rules: Arc<DatabaseRules>,
    pub bytes: FileBytes,
}

/// Exact bytes of a file and of its signature; empty where nothing is to be stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileBytes {
    pub content: Arc<[u8]>,
    pub signature: Option<Arc<[u8]>>,
}

impl From<&StoredFile> for FileBytes {
    fn from(file: &StoredFile) -> Self {
        Self { content: Arc::clone(&file.content), signature: file.signature.clone() }
    }
}

impl From<&Candidate> for StoredFile {
    fn from(candidate: &Candidate) -> Self {
        let FileBytes { content, signature } = candidate.bytes.clone();
        Self { path: candidate.path.clone(), signature, content }
    }
}

/// A valid file that is refused, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub path: PathBuf,
    pub database: DatabaseId,
    pub reason: Rejection,
}

/// Admitted files, one per database, and the refused ones.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    pub admitted: BTreeMap<DatabaseId, Candidate>,
    pub refused: Vec<Refusal>,
}

/// Admits candidates against the accepted files, the revision floors and the live endpoints.
#[must_use]
pub fn admit(
    candidates: Vec<Candidate>,
    before: &BTreeMap<DatabaseId, Candidate>,
    persisted: &PersistedState,
    live: &Live,
) -> Admission {
    let mut admission = Admission::default();
    let mut by_database: BTreeMap<DatabaseId, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        by_database.entry(candidate.rules.id.clone()).or_default().push(candidate);
    }
    for (id, files) in by_database {
        if let Some(newest) = admission.newest(files)
            && admission.not_older(&newest, before.get(&id), persisted)
        {
            admission.admitted.insert(id, newest);
        }
    }
    admission.resolve_conflicts(owned(before, persisted, live));
    admission
}

impl Admission {
    fn refuse(&mut self, candidate: Candidate, reason: Rejection) {
        self.refused.push(Refusal { path: candidate.path, database: candidate.rules.id.clone(), reason });
    }

    /// Selects the highest revision of several files with one database id.
    fn newest(&mut self, mut files: Vec<Candidate>) -> Option<Candidate> {
        files.sort_by(|a, b| (a.rules.revision, &a.path).cmp(&(b.rules.revision, &b.path)));
        let newest = files.pop()?;
        let (equal, older): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.rules.revision == newest.rules.revision);
        for file in older {
            let message = format!(
                "revision {} is lower than {} in {}",
                file.rules.revision,
                newest.rules.revision,
                newest.path.display()
            );
            self.refuse(file, Rejection::named(Cause::StaleRevision, message));
        }
        if equal.iter().all(|file| file.rules == newest.rules) {
            return Some(newest);
        }
        let paths: Vec<String> =
            equal.iter().chain([&newest]).map(|file| file.path.display().to_string()).collect();
        for file in equal.into_iter().chain([newest]) {
            let message =
                format!("revision {} has different contents in {}", file.rules.revision, paths.join(", "));
            self.refuse(file, Rejection::named(Cause::RevisionConflict, message));
        }
        None
    }

    /// Refuses a revision below the floor as stale; at the floor, the file must equal the accepted one.
    fn not_older(
        &mut self,
        file: &Candidate,
        before: Option<&Candidate>,
        persisted: &PersistedState,
    ) -> bool {
        let (id, revision) = (&file.rules.id, file.rules.revision);
        let floor = persisted.floor(id);
        let differs = match (before, persisted.presence(id)) {
            (Some(before), _) => before.rules.revision == revision && before.rules != file.rules,
            (None, Some(Presence::Removed)) => file.rules.state != State::Removed,
            (None, Some(Presence::Active | Presence::Forgotten) | None) => false,
        };
        let is_forgotten = before.is_none() && persisted.presence(id) == Some(Presence::Forgotten);
        let reason = if revision < floor {
            Rejection::named(
                Cause::StaleRevision,
                format!("revision {revision} is lower than {floor}, which was accepted before"),
            )
        } else if revision == floor && floor > 0 && is_forgotten {
            Rejection::named(
                Cause::StaleRevision,
                format!("revision {revision} was accepted before the database was forgotten"),
            )
        } else if revision == floor && differs {
            Rejection::named(
                Cause::RevisionConflict,
                format!("revision {revision} is in force with other contents"),
            )
        } else {
            return true;
        };
        self.refuse(file.clone(), reason);
        false
    }

    /// Refuses files so that no two databases claim one destination.
    fn resolve_conflicts(&mut self, owned: Claims) {
        let wanted = self.admitted.iter().map(|(id, candidate)| (id.clone(), wanted(&candidate.rules)));
        for (id, message) in Claimants::new(wanted.collect(), owned).losers() {
            if let Some(candidate) = self.admitted.remove(&id) {
                self.refuse(candidate, Rejection::named(Cause::EndpointClaimed, message));
            }
        }
    }
}

fn wanted(rules: &DatabaseRules) -> BTreeSet<Destination> {
    if rules.state == State::Active { destinations(rules) } else { BTreeSet::new() }
}

/// Destinations that each database owns: its live endpoints, and those of its accepted file, which may not be published
/// yet. A database that has left owns none, though a start after a crash may still find its endpoints.
fn owned(before: &BTreeMap<DatabaseId, Candidate>, persisted: &PersistedState, live: &Live) -> Claims {
    let has_left = |id: &DatabaseId| {
        let presence = persisted.presence(id);
        !before.contains_key(id) && matches!(presence, Some(Presence::Removed | Presence::Forgotten))
    };
    let mut owned: Claims =
        before.iter().map(|(id, candidate)| (id.clone(), wanted(&candidate.rules))).collect();
    for (slot, endpoints) in live.open_endpoints().iter() {
        if let Some(database) = live.databases.get(&slot)
            && !has_left(&database.id)
        {
            let own = owned.entry(database.id.clone()).or_default();
            own.extend(endpoints.iter().map(|endpoint| endpoint.destination));
        }
    }
    owned
}

#[cfg(test)]
mod tests;
