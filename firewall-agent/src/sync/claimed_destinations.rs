//! Destinations that accepted files have claimed.

use std::collections::BTreeMap;

use super::model::Destination;
use crate::rules::DatabaseId;

/// Claimed destinations, each with its last claimant; `None` where the kernel had the destination and the store did
/// not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimedDestinations(BTreeMap<Destination, Option<DatabaseId>>);

impl ClaimedDestinations {
    /// Adds a claim, or replaces its claimant. Returns `false` if nothing changed.
    pub fn insert(&mut self, destination: Destination, claimant: Option<DatabaseId>) -> bool {
        if self.0.get(&destination) == Some(&claimant) {
            return false;
        }
        self.0.insert(destination, claimant);
        true
    }

    /// Removes a claim. Returns `false` if there is none.
    pub fn remove(&mut self, destination: &Destination) -> bool {
        self.0.remove(destination).is_some()
    }

    #[must_use]
    pub fn contains(&self, destination: &Destination) -> bool {
        self.0.contains_key(destination)
    }

    /// The last claimant of a destination.
    #[must_use]
    pub fn claimant(&self, destination: &Destination) -> Option<&DatabaseId> {
        self.0.get(destination)?.as_ref()
    }

    /// Every claimed destination, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.0.keys()
    }

    /// The destinations with this database as their last claimant.
    pub fn of(&self, id: &DatabaseId) -> impl Iterator<Item = &Destination> {
        self.0.iter().filter(move |(_, claimant)| claimant.as_ref() == Some(id)).map(|(to, _)| to)
    }

    /// Every last claimant, once for each of its destinations.
    pub fn claimants(&self) -> impl Iterator<Item = &DatabaseId> {
        self.0.values().filter_map(Option::as_ref)
    }

    /// Rebuilds the map without half-empty nodes, which incremental inserts leave.
    pub fn pack(&mut self) {
        self.0 = std::mem::take(&mut self.0).into_iter().collect();
    }
}

impl Extend<Destination> for ClaimedDestinations {
    fn extend<T: IntoIterator<Item = Destination>>(&mut self, destinations: T) {
        for destination in destinations {
            self.0.entry(destination).or_default();
        }
    }
}

impl FromIterator<Destination> for ClaimedDestinations {
    fn from_iter<T: IntoIterator<Item = Destination>>(destinations: T) -> Self {
        Self(destinations.into_iter().map(|destination| (destination, None)).collect())
    }
}
