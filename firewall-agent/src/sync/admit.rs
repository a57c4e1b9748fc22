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
            format!("stale_revision: revision {revision} is lower than {floor}, which is in force")
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
mod tests {
    use super::*;
    use crate::rules::{Limits, Mode, Protocol, read_database};
    use crate::sync::{Database, Sources};

    fn file(id: &str, revision: u64, endpoints: &str) -> Candidate {
        let text = format!(
            "schema_version: 1\ndatabase_id: {id}\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\n\
             endpoints: [{endpoints}]\nrules: []\n...\n"
        );
        let limits = Limits { max_rules: 30, allow_monitor: true, node_name: String::new() };
        let rules = read_database(text.as_bytes(), &limits).unwrap().value;
        Candidate { path: format!("{id}-{revision}.yaml").into(), rules }
    }

    /// Databases that are live at revision 5, each with one endpoint.
    fn live(databases: &[(&str, Option<&str>)]) -> Live {
        let mut live = Live::default();
        for (slot, (id, address)) in (0..).zip(databases) {
            let database = Database {
                id: id.parse().unwrap(),
                name: String::new(),
                default_line: slot + 1,
                floor: 5,
                stamp: None,
                sources: Sources::default(),
            };
            live.databases.insert(slot, database);
            let address = address.map(|text| text.parse().unwrap());
            let claim = Claim::Open { slot, mode: Mode::Enforce, default_line: slot + 1 };
            live.table.endpoints.insert(Target { address, port: 5432, protocol: Protocol::Tcp }, claim);
        }
        live
    }

    /// The ids that are admitted, and the causes of the others.
    fn outcome(candidates: Vec<Candidate>, before: &[Candidate], live: &Live) -> String {
        let before = before.iter().map(|file| (file.rules.id.clone(), file.clone())).collect();
        let admission = admit(candidates, &before, live);
        let admitted: Vec<String> = admission.admitted.keys().map(ToString::to_string).collect();
        let refused: Vec<String> = admission
            .refused
            .iter()
            .map(|refusal| {
                format!("{} {}", refusal.database, refusal.message.split(':').next().unwrap_or_default())
            })
            .collect();
        format!("{} | {}", admitted.join(" "), refused.join(", "))
    }

    const ONE: &str = "{port: 5432, address: 192.0.2.1}";
    const TWO: &str = "{port: 5432, address: 192.0.2.2}";
    const ALL: &str = "{port: 5432}";

    #[test]
    fn an_endpoint_has_one_holder() {
        let nobody = live(&[]);
        let z_holds_all = live(&[("z", None)]);
        let a_holds_one = live(&[("a", Some("192.0.2.1"))]);
        for (what, candidates, live, expected) in [
            ("apart", vec![file("a", 6, ONE), file("b", 6, TWO)], &nobody, "a b | "),
            ("two newcomers", vec![file("b", 6, ONE), file("a", 6, ONE)], &nobody, "a | b endpoint_claimed"),
            (
                "a wildcard overlaps",
                vec![file("a", 6, ALL), file("b", 6, TWO)],
                &nobody,
                "a | b endpoint_claimed",
            ),
            (
                "the holder keeps it",
                vec![file("a", 6, ONE), file("z", 6, ALL)],
                &z_holds_all,
                "z | a endpoint_claimed",
            ),
            (
                "a holder may narrow",
                vec![file("a", 6, ONE), file("z", 6, ONE)],
                &z_holds_all,
                "z | a endpoint_claimed",
            ),
            ("its file may be gone", vec![file("b", 6, ONE)], &a_holds_one, " | b endpoint_claimed"),
            ("an endpoint moves", vec![file("a", 6, TWO), file("b", 6, ONE)], &a_holds_one, "a b | "),
            (
                "the loser to a loser is taken",
                vec![file("a", 6, TWO), file("b", 6, ALL), file("c", 6, ONE)],
                &live(&[("c", Some("192.0.2.1"))]),
                "a c | b endpoint_claimed",
            ),
        ] {
            assert_eq!(outcome(candidates, &[], live), expected, "{what}");
        }
    }

    #[test]
    fn a_claim_that_was_admitted_and_not_yet_published_is_held() {
        let before = [file("x", 6, ONE)];
        assert_eq!(outcome(vec![file("a", 6, ONE)], &before, &live(&[])), " | a endpoint_claimed");
    }

    #[test]
    fn revisions_never_go_back() {
        let live = live(&[("a", Some("192.0.2.1"))]);
        for (what, candidates, before, expected) in [
            ("higher", vec![file("a", 6, ONE)], vec![], "a | "),
            ("the same again", vec![file("a", 5, ONE)], vec![], "a | "),
            ("lower", vec![file("a", 4, ONE)], vec![], " | a stale_revision"),
            ("lower than admitted", vec![file("a", 7, ONE)], vec![file("a", 8, ONE)], " | a stale_revision"),
            (
                "the same, other content",
                vec![file("a", 8, TWO)],
                vec![file("a", 8, ONE)],
                " | a revision_conflict",
            ),
            ("two files", vec![file("a", 7, ONE), file("a", 6, TWO)], vec![], "a | a stale_revision"),
            (
                "two files, one revision",
                vec![file("a", 7, ONE), file("a", 7, TWO)],
                vec![],
                " | a revision_conflict, a revision_conflict",
            ),
        ] {
            assert_eq!(outcome(candidates, &before, &live), expected, "{what}");
        }
    }
}
