//! Open endpoints by database.

use std::collections::BTreeMap;

use super::indices::{CounterId, DatabaseSlot};
use super::model::{Destination, Live, TableEntry};
use crate::rules::Mode;

/// An open endpoint of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenEndpoint {
    pub destination: Destination,
    pub slot: DatabaseSlot,
    pub mode: Mode,
    /// Counts the sources outside the allow list.
    pub default_counter: CounterId,
}

impl OpenEndpoint {
    /// Its row in the endpoint table; `None` for a tombstone.
    fn new((destination, entry): (&Destination, &TableEntry)) -> Option<Self> {
        match *entry {
            TableEntry::Open { slot, mode, default_counter } => {
                Some(Self { destination: *destination, slot, mode, default_counter })
            }
            TableEntry::Tombstone => None,
        }
    }

    /// Its entry in the endpoint table.
    #[must_use]
    pub fn entry(&self) -> TableEntry {
        let Self { slot, mode, default_counter, .. } = *self;
        TableEntry::Open { slot, mode, default_counter }
    }
}

/// The open endpoints of all databases, collected in one pass over the endpoint table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenEndpoints(BTreeMap<DatabaseSlot, Vec<OpenEndpoint>>);

impl OpenEndpoints {
    /// The endpoints of one database, ordered by destination.
    #[must_use]
    pub fn of(&self, slot: DatabaseSlot) -> &[OpenEndpoint] {
        self.0.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// Every slot with endpoints, and these, ordered by destination. After an interrupted migration of the map layout, a
    /// slot may have endpoints and no database.
    pub fn iter(&self) -> impl Iterator<Item = (DatabaseSlot, &[OpenEndpoint])> {
        self.0.iter().map(|(slot, endpoints)| (*slot, endpoints.as_slice()))
    }
}

impl Live {
    /// The open endpoints of one database, ordered by destination. Reads all endpoints: for several databases, see
    /// [`Live::open_endpoints`].
    pub fn endpoints_of(&self, slot: DatabaseSlot) -> impl Iterator<Item = OpenEndpoint> {
        let all = self.table.endpoints.open().iter().filter_map(OpenEndpoint::new);
        all.filter(move |endpoint| endpoint.slot == slot)
    }

    /// The open endpoints of every database.
    #[must_use]
    pub fn open_endpoints(&self) -> OpenEndpoints {
        let mut open = OpenEndpoints::default();
        for endpoint in self.table.endpoints.open().iter().filter_map(OpenEndpoint::new) {
            open.0.entry(endpoint.slot).or_default().push(endpoint);
        }
        open
    }
}
