//! Resolution of conflicting claims on destinations.

use std::collections::{BTreeMap, BTreeSet};

use crate::rules::DatabaseId;
use crate::sync::model::Destination;

/// Destinations by the database that claims them.
pub(super) type Claims = BTreeMap<DatabaseId, BTreeSet<Destination>>;

/// A rejected file, with the reason.
pub(super) type Loser = (DatabaseId, String);

/// Claims, indexed by destination.
#[derive(Debug, Default)]
struct Index {
    exact: BTreeMap<Destination, BTreeSet<DatabaseId>>,
    /// By port and protocol, as a wildcard.
    everywhere: BTreeMap<Destination, BTreeMap<DatabaseId, BTreeSet<Destination>>>,
}

impl Index {
    fn insert(&mut self, id: &DatabaseId, claims: Option<&BTreeSet<Destination>>) {
        for to in claims.into_iter().flatten() {
            self.exact.entry(*to).or_default().insert(id.clone());
            let everywhere = self.everywhere.entry(to.everywhere()).or_default();
            everywhere.entry(id.clone()).or_default().insert(*to);
        }
    }

    fn remove(&mut self, id: &DatabaseId, claims: Option<&BTreeSet<Destination>>) {
        for to in claims.into_iter().flatten() {
            if let Some(ids) = self.exact.get_mut(to) {
                ids.remove(id);
            }
            if let Some(claims) = self.everywhere.get_mut(&to.everywhere()) {
                claims.remove(id);
            }
        }
    }

    /// Another database with a claim that overlaps this one of `id`, and that claim.
    fn rival(&self, id: &DatabaseId, mine: &Destination) -> Option<(DatabaseId, Destination)> {
        let at = |to: Destination| {
            let other = self.exact.get(&to)?.iter().find(|one| *one != id)?;
            Some((other.clone(), to))
        };
        if mine.address.is_some() {
            return at(*mine).or_else(|| at(mine.everywhere()));
        }
        let (other, claims) = self.everywhere.get(mine)?.iter().find(|(one, _)| *one != id)?;
        Some((other.clone(), *claims.first()?))
    }

    fn has_rival(&self, id: &DatabaseId, claims: Option<&BTreeSet<Destination>>) -> bool {
        claims.into_iter().flatten().any(|mine| self.rival(id, mine).is_some())
    }
}

/// The files to admit, and the destinations that databases own.
pub(super) struct Claimants {
    owned: Claims,
    wanted: Claims,
    /// Claims of owners without a file to admit.
    owners: Index,
    /// Claims of the files.
    files: Index,
    losers: Vec<Loser>,
    withdrawn: BTreeSet<DatabaseId>,
}

impl Claimants {
    /// Files that claim `wanted`, against databases that own `owned`.
    pub fn new(wanted: Claims, owned: Claims) -> Self {
        let (mut owners, mut files) = (Index::default(), Index::default());
        for (id, claims) in owned.iter().filter(|(id, _)| !wanted.contains_key(*id)) {
            owners.insert(id, Some(claims));
        }
        for (id, claims) in &wanted {
            files.insert(id, Some(claims));
        }
        Self { owned, wanted, owners, files, losers: Vec::new(), withdrawn: BTreeSet::new() }
    }

    /// The files to refuse, so that no two databases claim one destination. The owner retains it; of two newcomers the
    /// lower id gets it. A file that lost only to a rejected file is not included.
    pub fn losers(mut self) -> Vec<Loser> {
        for (id, claims) in self.wanted.clone() {
            // Claims found free stay free: a claim that returns withdraws every file that it overlaps.
            for mine in claims {
                while !self.withdrawn.contains(&id)
                    && let Some((loser, message)) = self.conflict(&id, mine)
                {
                    self.withdraw(loser, message);
                }
            }
        }
        let losers = std::mem::take(&mut self.losers);
        losers.into_iter().filter(|(id, _)| !self.readmit(id)).collect()
    }

    /// A file to refuse because of a claim of the file of `id`: that file or another.
    fn conflict(&self, id: &DatabaseId, mine: Destination) -> Option<Loser> {
        if let Some((owner, theirs)) = self.owners.rival(id, &mine) {
            return Some((id.clone(), message(&mine, &owner, &theirs)));
        }
        let (other, theirs) = self.files.rival(id, &mine)?;
        let (mine, theirs) = ((id, mine), (&other, theirs));
        let ((winner, owned), (loser, claimed)) = match (self.owns(mine), self.owns(theirs)) {
            (true, false) => (mine, theirs),
            (false, true) => (theirs, mine),
            (true, true) | (false, false) if id < &other => (mine, theirs),
            (true, true) | (false, false) => (theirs, mine),
        };
        Some((loser.clone(), message(&claimed, winner, &owned)))
    }

    fn owns(&self, (id, to): (&DatabaseId, Destination)) -> bool {
        self.owned.get(id).is_some_and(|owned| owned.contains(&to) || owned.contains(&to.everywhere()))
    }

    /// Withdraws a file, and every other file that claims a destination its database then still owns.
    fn withdraw(&mut self, id: DatabaseId, text: String) {
        let mut leaving = vec![(id, text)];
        while let Some((id, text)) = leaving.pop() {
            self.files.remove(&id, self.wanted.get(&id));
            self.owners.insert(&id, self.owned.get(&id));
            for claim in self.owned.get(&id).into_iter().flatten() {
                while let Some((other, claimed)) = self.files.rival(&id, claim) {
                    self.files.remove(&other, self.wanted.get(&other));
                    leaving.push((other, message(&claimed, &id, claim)));
                }
            }
            self.withdrawn.insert(id.clone());
            self.losers.push((id, text));
        }
    }

    /// Admits a withdrawn file if no remaining claim conflicts with it.
    fn readmit(&mut self, id: &DatabaseId) -> bool {
        self.owners.remove(id, self.owned.get(id));
        let wanted = self.wanted.get(id);
        let free = !self.owners.has_rival(id, wanted) && !self.files.has_rival(id, wanted);
        if free {
            self.files.insert(id, wanted);
        } else {
            self.owners.insert(id, self.owned.get(id));
        }
        free
    }
}

fn message(claimed: &Destination, owner: &DatabaseId, owned: &Destination) -> String {
    format!("{claimed} is claimed by database {owner} as {owned}")
}
