//! Which files may change what is live: revisions never go back, and an endpoint has one holder.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{
    desired::targets,
    model::{Claim, Live, Target},
};
use crate::rules::{DatabaseId, DatabaseRules, State};

/// A rule file that is right in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub path: PathBuf,
    pub rules: DatabaseRules,
}

/// Why a file that is right in itself is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub path: PathBuf,
    pub database: DatabaseId,
    /// Starts with the cause's name: `stale_revision`, `revision_conflict`, `endpoint_claimed`.
    pub message: String,
}

/// The files that count, one for each database, and the others.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    pub admitted: BTreeMap<DatabaseId, Candidate>,
    pub refused: Vec<Refusal>,
}

/// Sorts out `candidates` against what is live and what was admitted before (by this process).
#[must_use]
pub fn admit(candidates: Vec<Candidate>, before: &BTreeMap<DatabaseId, Candidate>, live: &Live) -> Admission {
    let mut admission = Admission::default();
    let mut by_database: BTreeMap<DatabaseId, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        by_database.entry(candidate.rules.id.clone()).or_default().push(candidate);
    }
    for (id, files) in by_database {
        if let Some(newest) = admission.newest(files)
            && admission.not_older(&newest, before.get(&id), live)
        {
            admission.admitted.insert(id, newest);
        }
    }
    admission.settle(&held(before, live));
    admission
}

impl Admission {
    fn refuse(&mut self, candidate: Candidate, message: String) {
        self.refused.push(Refusal { path: candidate.path, database: candidate.rules.id, message });
    }

    /// Of several files with one database id the highest revision counts.
    fn newest(&mut self, mut files: Vec<Candidate>) -> Option<Candidate> {
        files.sort_by(|a, b| (a.rules.revision, &a.path).cmp(&(b.rules.revision, &b.path)));
        let newest = files.pop()?;
        let (equal, older): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.rules.revision == newest.rules.revision);
        for file in older {
            let message = format!(
                "stale_revision: revision {} is lower than {} in {}",
                file.rules.revision,
                newest.rules.revision,
                newest.path.display()
            );
            self.refuse(file, message);
        }
        if equal.iter().all(|file| file.rules == newest.rules) {
            return Some(newest);
        }
        let paths: Vec<String> =
            equal.iter().chain([&newest]).map(|file| file.path.display().to_string()).collect();
        for file in equal.into_iter().chain([newest]) {
            let message = format!(
                "revision_conflict: revision {} has different contents in {}",
                file.rules.revision,
                paths.join(", ")
            );
            self.refuse(file, message);
        }
        None
    }

    /// A lower revision than the live one is stale; the same one must say the same.
    fn not_older(&mut self, file: &Candidate, before: Option<&Candidate>, live: &Live) -> bool {
        let revision = file.rules.revision;
        let in_force = live
            .databases
            .values()
            .find(|database| database.id == file.rules.id)
            .map_or(0, |database| database.floor);
        let floor = before.map_or(0, |before| before.rules.revision).max(in_force);
        let message = if revision < floor {
            format!("stale_revision: revision {revision} is lower than {floor}, which was taken before")
        } else if before.is_some_and(|before| before.rules.revision == revision && before.rules != file.rules)
        {
            format!("revision_conflict: revision {revision} is in force with other contents")
        } else {
            return true;
        };
        self.refuse(file.clone(), message);
        false
    }

    /// Refuses files until no two databases claim one destination. A file that lost only to a file that is refused
    /// itself is taken after all.
    fn settle(&mut self, held: &Claims) {
        let mut losers = Vec::new();
        while let Some((loser, message)) = self.conflict(held) {
            losers.extend(self.admitted.remove(&loser).map(|candidate| (candidate, message)));
        }
        for (candidate, message) in losers {
            let id = candidate.rules.id.clone();
            self.admitted.insert(id.clone(), candidate);
            if self.conflict(held).is_some()
                && let Some(candidate) = self.admitted.remove(&id)
            {
                self.refuse(candidate, message);
            }
        }
    }

    /// One file that claims what another database holds, or what another file claims with more right.
    fn conflict(&self, held: &Claims) -> Option<(DatabaseId, String)> {
        let mut claims = held.clone();
        claims.extend(self.admitted.iter().map(|(id, candidate)| (id.clone(), wanted(&candidate.rules))));
        let claims: Vec<_> = claims.iter().collect();
        let holds = |id: &DatabaseId, target: &Target| {
            held.get(id).is_some_and(|held| held.iter().any(|held| held.covers(target)))
        };
        for (index, (id, wanted)) in claims.iter().enumerate() {
            for (other, others) in &claims[index + 1..] {
                let overlap = wanted.iter().find_map(|mine| {
                    others.iter().find(|theirs| mine.overlaps(theirs)).map(|theirs| (mine, theirs))
                });
                let Some((mine, theirs)) = overlap else { continue };
                // The holder keeps it; between two newcomers the one with the lower id.
                let other_loses = self.admitted.contains_key(*other)
                    && (holds(id, mine) || !self.admitted.contains_key(*id) || !holds(other, theirs));
                let (loser, target, holder, held) =
                    if other_loses { (other, theirs, id, mine) } else { (id, mine, other, theirs) };
                if self.admitted.contains_key(*loser) {
                    let message =
                        format!("endpoint_claimed: {target} is claimed by database {holder} as {held}");
                    return Some(((*loser).clone(), message));
                }
            }
        }
        None
    }
}

type Claims = BTreeMap<DatabaseId, BTreeSet<Target>>;

fn wanted(rules: &DatabaseRules) -> BTreeSet<Target> {
    if rules.state == State::Active { targets(rules) } else { BTreeSet::new() }
}

/// What each database holds: its live endpoints, and those of the file that it was last admitted with, which may not
/// be published yet.
fn held(before: &BTreeMap<DatabaseId, Candidate>, live: &Live) -> Claims {
    let mut held: Claims =
        before.iter().map(|(id, candidate)| (id.clone(), wanted(&candidate.rules))).collect();
    for (target, claim) in &live.table.endpoints {
        if let Claim::Open { slot, .. } = claim
            && let Some(database) = live.databases.get(slot)
        {
            held.entry(database.id.clone()).or_default().insert(*target);
        }
    }
    held
}

#[cfg(test)]
mod tests;
