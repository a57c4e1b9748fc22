//! Contended destinations, which the stored files of two databases claim. Admission prevents them; if the store
//! contains one anyway, it is closed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::desired::Desired;
use super::model::Destination;
use crate::rules::{DatabaseId, Protocol};

/// Removes each destination that overlaps another database's from `desired`, closes it, and records it there.
pub(super) fn withdraw_contended(desired: &mut Desired) {
    let mut by_port: BTreeMap<(u16, Protocol), Vec<(Destination, &DatabaseId)>> = BTreeMap::new();
    for (id, database) in &desired.databases {
        for destination in &database.destinations {
            by_port.entry((destination.port, destination.protocol)).or_default().push((*destination, id));
        }
    }
    let mut contended: BTreeMap<Destination, BTreeSet<DatabaseId>> = BTreeMap::new();
    for claims in by_port.values() {
        let mut by_address: BTreeMap<Destination, BTreeSet<&DatabaseId>> = BTreeMap::new();
        for (destination, id) in claims {
            by_address.entry(*destination).or_default().insert(id);
        }
        let everywhere = claims.first().map(|(destination, _)| destination.everywhere());
        let wildcards =
            everywhere.and_then(|everywhere| by_address.get(&everywhere).cloned()).unwrap_or_default();
        let all: BTreeSet<&DatabaseId> = claims.iter().map(|(_, id)| *id).collect();
        for (destination, owners) in by_address {
            let rivals = if destination.address.is_none() { &all } else { &wildcards };
            let claimants: BTreeSet<&DatabaseId> = owners.union(rivals).copied().collect();
            if claimants.len() > 1 {
                contended.insert(destination, claimants.into_iter().cloned().collect());
            }
        }
    }
    for (destination, owners) in &contended {
        for id in owners {
            if let Some(database) = desired.databases.get_mut(id) {
                Arc::make_mut(database).destinations.remove(destination);
            }
        }
        if !desired.closed.contains(destination) {
            Arc::make_mut(&mut desired.closed).extend([*destination]);
        }
    }
    desired.contended = contended;
}

impl Desired {
    /// Messages about the contended destinations, by destination.
    pub fn contentions(&self) -> impl Iterator<Item = (String, String)> {
        self.contended.iter().map(|(destination, owners)| {
            let owners: Vec<&str> = owners.iter().map(DatabaseId::as_str).collect();
            let message = format!("{destination}: closed: claimed by databases {}", owners.join(", "));
            (destination.to_string(), message)
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::rules::{Mode, RuleSet};
    use crate::sync::{
        AcceptedFiles, Changes, DesiredDatabase, Guards, Live, PersistedState, Record, StoredFile,
    };

    fn desired(claims: &[(&str, &[&str])]) -> Desired {
        let mut desired = Desired::default();
        for (id, destinations) in claims {
            let destinations = destinations.iter().map(|text| text.parse().unwrap()).collect();
            let database = DesiredDatabase {
                is_closed: false,
                name: String::new(),
                revision: 1,
                mode: Mode::Enforce,
                destinations,
                set: RuleSet::default(),
                counters: BTreeMap::new(),
            };
            desired.databases.insert(id.parse().unwrap(), database.into());
        }
        desired
    }

    #[test]
    fn only_overlapping_claims_are_closed() {
        let one = "192.0.2.1:5432/tcp";
        for (claims, expected) in [
            (&[("a", &[one][..]), ("b", &["192.0.2.2:5432/tcp"])][..], &[][..]),
            (&[("a", &[one]), ("b", &["192.0.2.1:5432/udp", "192.0.2.1:5433/tcp"])], &[]),
            (&[("a", &["*:5432/tcp", one]), ("b", &["*:5433/tcp"])], &[]),
            (&[("a", &[one]), ("b", &[one, "192.0.2.2:5432/tcp"])], &[one]),
            (&[("a", &["*:5432/tcp"]), ("b", &[one])], &["*:5432/tcp", one]),
            (&[("a", &["*:5432/tcp"]), ("b", &["*:5432/tcp"])], &["*:5432/tcp"]),
        ] {
            let mut desired = desired(claims);
            withdraw_contended(&mut desired);
            let closed: Vec<String> = desired.contended.keys().map(ToString::to_string).collect();
            assert_eq!(closed, expected, "{claims:?}");
            let open: BTreeSet<String> = desired
                .databases
                .values()
                .flat_map(|one| &one.destinations)
                .map(ToString::to_string)
                .collect();
            let all: BTreeSet<&str> = claims.iter().flat_map(|(_, all)| all.iter().copied()).collect();
            let left: BTreeSet<String> =
                all.into_iter().filter(|one| !expected.contains(one)).map(ToOwned::to_owned).collect();
            assert_eq!(open, left, "{claims:?}");
        }
    }

    #[test]
    fn desired_state_closes_a_destination_claimed_by_two_stored_files() {
        let (mut persisted, live, mut changes) =
            (PersistedState::default(), Live::default(), Changes::default());
        let mut accepted = AcceptedFiles::new(&live);
        for (id, own) in [("a", "192.0.2.2"), ("b", "192.0.2.3")] {
            let content = format!(
                "schema_version: 1\ndatabase_id: {id}\nrevision: 7\ngenerated_at: 2026-08-21T15:27:32Z\n\
                 endpoints: [{{port: 5432, address: 192.0.2.1}}, {{port: 5432, address: {own}}}]\nrules: []\n...\n"
            );
            let file = StoredFile { path: id.into(), signature: None, content: content.as_bytes().into() };
            let record = Record::File(id.parse().unwrap(), file);
            assert_eq!(persisted.load(record.clone()), Some(record.clone()));
            accepted.load(record, &persisted, &live, &mut changes).unwrap();
        }
        let desired = accepted.desired(&persisted, &live, Guards::default(), false, Timestamp::UNIX_EPOCH);
        let open: Vec<String> =
            desired.databases.values().flat_map(|one| &one.destinations).map(ToString::to_string).collect();
        assert_eq!(open, ["192.0.2.2:5432/tcp", "192.0.2.3:5432/tcp"]);
        assert!(desired.closed.contains(&"192.0.2.1:5432/tcp".parse().unwrap()));
        let messages: Vec<String> = desired.contentions().map(|(_, message)| message).collect();
        assert_eq!(messages, ["192.0.2.1:5432/tcp: closed: claimed by databases a, b"]);
    }
}
