//! Entries of the endpoint table by destination: open endpoints and tombstones.

use std::collections::btree_map::{self, BTreeMap};
use std::collections::btree_set::{self, BTreeSet};
use std::iter::Peekable;
#[cfg(test)]
use std::ops::Index;

use super::endpoint_plan::Rows;
use super::model::{Destination, TableEntry};

/// Entries of the endpoint table by destination. Open endpoints and tombstones are stored separately: a host may have thousands of tombstones,
/// and most lookups concern the few open endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    open: BTreeMap<Destination, TableEntry>,
    closed: BTreeSet<Destination>,
}

impl Endpoints {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the entry of a destination.
    pub fn insert(&mut self, destination: Destination, entry: TableEntry) {
        match entry {
            TableEntry::Open { .. } => {
                self.closed.remove(&destination);
                self.open.insert(destination, entry);
            }
            TableEntry::Tombstone => {
                self.open.remove(&destination);
                self.closed.insert(destination);
            }
        }
    }

    #[must_use]
    pub fn get(&self, destination: &Destination) -> Option<&TableEntry> {
        let closed = || self.closed.contains(destination).then_some(&TableEntry::Tombstone);
        self.open.get(destination).or_else(closed)
    }

    /// The entry that decides about packets to a destination with an address: its own, else that of every address.
    #[must_use]
    pub fn deciding(&self, destination: &Destination) -> Option<&TableEntry> {
        self.get(destination).or_else(|| self.get(&destination.everywhere()))
    }

    #[must_use]
    pub fn contains_key(&self, destination: &Destination) -> bool {
        self.get(destination).is_some()
    }

    /// Number of destinations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len() + self.closed.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Open endpoints.
    #[must_use]
    pub fn open(&self) -> &BTreeMap<Destination, TableEntry> {
        &self.open
    }

    /// Tombstones.
    #[must_use]
    pub fn closed(&self) -> &BTreeSet<Destination> {
        &self.closed
    }

    /// Every destination with its entry, ordered by destination.
    pub fn iter(&self) -> Iter<'_> {
        Iter { open: self.open.iter().peekable(), closed: self.closed.iter().peekable() }
    }

    /// Every destination, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Destination> {
        self.iter().map(|(destination, _)| destination)
    }

    pub fn values(&self) -> impl Iterator<Item = &TableEntry> {
        self.iter().map(|(_, entry)| entry)
    }
}

/// Merged iterator over both kinds.
#[derive(Debug)]
pub struct Iter<'a> {
    open: Peekable<btree_map::Iter<'a, Destination, TableEntry>>,
    closed: Peekable<btree_set::Iter<'a, Destination>>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a Destination, &'a TableEntry);

    fn next(&mut self) -> Option<Self::Item> {
        let is_open_next = match (self.open.peek(), self.closed.peek()) {
            (Some((open, _)), Some(closed)) => *open < *closed,
            (open, _) => open.is_some(),
        };
        if is_open_next {
            return self.open.next();
        }
        self.closed.next().map(|closed| (closed, &TableEntry::Tombstone))
    }
}

impl<'a> IntoIterator for &'a Endpoints {
    type Item = (&'a Destination, &'a TableEntry);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Extend<(Destination, TableEntry)> for Endpoints {
    fn extend<T: IntoIterator<Item = (Destination, TableEntry)>>(&mut self, entries: T) {
        entries.into_iter().for_each(|(destination, entry)| self.insert(destination, entry));
    }
}

impl FromIterator<(Destination, TableEntry)> for Endpoints {
    fn from_iter<T: IntoIterator<Item = (Destination, TableEntry)>>(entries: T) -> Self {
        let mut endpoints = Self::new();
        endpoints.extend(entries);
        endpoints
    }
}

impl From<Rows> for Endpoints {
    fn from(rows: Rows) -> Self {
        Self { open: rows.open.into_iter().collect(), closed: rows.closed.into_iter().collect() }
    }
}

#[cfg(test)]
impl Index<&Destination> for Endpoints {
    type Output = TableEntry;

    fn index(&self, destination: &Destination) -> &TableEntry {
        self.get(destination).unwrap()
    }
}
