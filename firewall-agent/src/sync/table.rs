//! The endpoint table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::endpoint_plan::Rows;
use super::endpoints::Endpoints;
use super::members::{Members, members};
use super::model::{CounterId, DatabaseSlot, Destination, Guards, TableEntry};
use crate::rules::Mode;

/// The endpoint table, always replaced as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    pub endpoints: Endpoints,
    /// Address index: the databases per address, and (`None`) at every other address.
    pub members: BTreeMap<Option<IpAddr>, Members>,
    /// Host index: every database with an endpoint; enforcing ones first.
    pub databases: BTreeSet<(Mode, DatabaseSlot, CounterId)>,
}

impl Table {
    /// The table of these endpoints.
    #[must_use]
    pub fn new(endpoints: Endpoints, guarded: &Guards) -> Self {
        let open: Vec<(Destination, TableEntry)> =
            endpoints.open().iter().map(|(to, entry)| (*to, *entry)).collect();
        let closed: Vec<Destination> = endpoints.closed().iter().copied().collect();
        Self { members: members(&open, &closed, guarded), databases: databases(&open), endpoints }
    }

    /// The table of these rows; `None` if it equals `live`. Compares before building.
    pub(super) fn unless_live(rows: Rows, guarded: &Guards, live: &Self) -> Option<Self> {
        let (members, databases) = (members(&rows.open, &rows.closed, guarded), databases(&rows.open));
        let (open, closed) = (live.endpoints.open(), live.endpoints.closed());
        let same = rows.open.len() == open.len()
            && rows.closed.len() == closed.len()
            && rows.open.iter().map(|(to, entry)| (to, entry)).eq(open)
            && rows.closed.iter().eq(closed)
            && members == live.members
            && databases == live.databases;
        (!same).then(|| Self { endpoints: rows.into(), members, databases })
    }
}

/// The databases of these rows.
fn databases(open: &[(Destination, TableEntry)]) -> BTreeSet<(Mode, DatabaseSlot, CounterId)> {
    let database = |entry: &TableEntry| match *entry {
        TableEntry::Open { slot, mode, default_counter } => Some((mode, slot, default_counter)),
        TableEntry::Tombstone => None,
    };
    open.iter().filter_map(|(_, entry)| database(entry)).collect()
}
