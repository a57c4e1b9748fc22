//! Address index: the databases that judge portless packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::model::{CounterId, DatabaseSlot, Destination, Guards, TableEntry};
use crate::rules::{Mode, Protocol};

/// Databases and closed ports at one address, for any port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// A tombstone, or a guarded port that no database claims, applies at the address.
    pub closed: bool,
    /// The databases with an endpoint there, wildcards included; enforcing ones first.
    pub databases: BTreeSet<(Mode, DatabaseSlot, CounterId)>,
}

impl Members {
    fn is_empty(&self) -> bool {
        !self.closed && self.databases.is_empty()
    }
}

/// Address index of rows ordered by destination. An address has an entry only where its databases differ from those of
/// every other address (`None`), which has an entry only where it is not empty.
pub(super) fn members(
    open: &[(Destination, TableEntry)],
    closed: &[Destination],
    guarded: &Guards,
) -> BTreeMap<Option<IpAddr>, Members> {
    // Wildcards sort first.
    let (wildcards, open) = open.split_at(open.partition_point(|(to, _)| to.address.is_none()));
    let (closed_wildcards, closed) = closed.split_at(closed.partition_point(|to| to.address.is_none()));
    let everywhere = Everywhere::new(wildcards, closed_wildcards, guarded);
    let mut members = BTreeMap::new();
    for site in open.chunk_by(|(one, _), (next, _)| one.address == next.address) {
        let Some((Destination { address, .. }, _)) = site.first() else { continue };
        let first = closed.partition_point(|to| to.address < *address);
        let tombstones = closed[first..].iter().take_while(|to| to.address == *address).count();
        if let Some(own) = everywhere.with(site, tombstones, guarded) {
            members.insert(*address, own);
        }
    }
    // Where a port is closed at every address, tombstones alone make no difference.
    if !everywhere.members.closed {
        for site in closed.chunk_by(|one, next| one.address == next.address) {
            let Some(Destination { address, .. }) = site.first() else { continue };
            if !members.contains_key(address)
                && let Some(own) = everywhere.with(&[], site.len(), guarded)
            {
                members.insert(*address, own);
            }
        }
    }
    if !everywhere.members.is_empty() {
        members.insert(None, everywhere.members);
    }
    members
}

/// The wildcards of a table.
struct Everywhere {
    members: Members,
    open: BTreeSet<(u16, Protocol)>,
    /// Tombstones: an endpoint at a single address overrides the one at its port and protocol.
    closed: BTreeSet<(u16, Protocol)>,
    /// Guarded ports, once per protocol, without a wildcard endpoint.
    unclaimed: usize,
}

impl Everywhere {
    fn new(open: &[(Destination, TableEntry)], closed: &[Destination], guarded: &Guards) -> Self {
        let mut everywhere = Self {
            members: Members::default(),
            open: BTreeSet::new(),
            closed: closed.iter().map(|to| (to.port, to.protocol)).collect(),
            unclaimed: 2 * guarded.len(),
        };
        for (Destination { port, protocol, .. }, entry) in open {
            let TableEntry::Open { slot, mode, default_counter } = entry else { continue };
            everywhere.members.databases.insert((*mode, *slot, *default_counter));
            everywhere.open.insert((*port, *protocol));
            everywhere.unclaimed -= usize::from(guarded.contains(*port));
        }
        everywhere.members.closed = !everywhere.closed.is_empty() || everywhere.unclaimed > 0;
        everywhere
    }

    /// Entry of an address with these open endpoints and this number of tombstones; `None` where it equals that of
    /// every other address.
    fn with(
        &self,
        open: &[(Destination, TableEntry)],
        own_tombstones: usize,
        guarded: &Guards,
    ) -> Option<Members> {
        let (mut tombstones, mut unclaimed) = (self.closed.len() + own_tombstones, self.unclaimed);
        let mut own = Vec::new();
        for (Destination { port, protocol, .. }, entry) in open {
            let TableEntry::Open { slot, mode, default_counter } = entry else { continue };
            let key = (*port, *protocol);
            own.push((*mode, *slot, *default_counter));
            tombstones -= usize::from(self.closed.contains(&key));
            unclaimed -= usize::from(guarded.contains(*port) && !self.open.contains(&key));
        }
        let closed = tombstones > 0 || unclaimed > 0;
        own.retain(|member| !self.members.databases.contains(member));
        if closed == self.members.closed && own.is_empty() {
            return None;
        }
        let mut databases = self.members.databases.clone();
        databases.extend(own);
        Some(Members { closed, databases })
    }
}
