//! Destinations that the stored files of two databases claim. Admission keeps files apart; should a store say otherwise, such
//! a destination is closed.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::Desired;
use super::model::Destination;
use crate::rules::{DatabaseId, Protocol};

/// Takes every destination that overlaps one of another database out of `desired`, and closes it. Returns those
/// destinations, each with the databases that claim it.
pub fn withdraw_contended(desired: &mut Desired) -> BTreeMap<Destination, BTreeSet<DatabaseId>> {
    let mut by_port: BTreeMap<(u16, Protocol), Vec<(Destination, &DatabaseId)>> = BTreeMap::new();
    for (id, database) in &desired.databases {
        for destination in &database.targets {
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
                database.targets.remove(destination);
            }
        }
        desired.closed.insert(*destination);
    }
    contended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Mode, RuleSet};
    use crate::sync::DesiredDatabase;

    fn desired(claims: &[(&str, &[&str])]) -> Desired {
        let mut desired = Desired::default();
        for (id, destinations) in claims {
            let targets = destinations.iter().map(|text| text.parse().unwrap()).collect();
            let database = DesiredDatabase {
                name: String::new(),
                revision: 1,
                mode: Mode::Enforce,
                targets,
                set: RuleSet::default(),
                lines: BTreeMap::new(),
            };
            desired.databases.insert(id.parse().unwrap(), database);
        }
        desired
    }

    #[test]
    fn overlapping_claims_are_closed_and_others_stay() {
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
            let closed: Vec<String> =
                withdraw_contended(&mut desired).keys().map(ToString::to_string).collect();
            assert_eq!(closed, expected, "{claims:?}");
            let open: BTreeSet<String> =
                desired.databases.values().flat_map(|one| &one.targets).map(ToString::to_string).collect();
            let all: BTreeSet<&str> = claims.iter().flat_map(|(_, all)| all.iter().copied()).collect();
            let left: BTreeSet<String> =
                all.into_iter().filter(|one| !expected.contains(one)).map(ToOwned::to_owned).collect();
            assert_eq!(open, left, "{claims:?}");
        }
    }
}
