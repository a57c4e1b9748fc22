//! Databases that are asked about a packet whose port cannot be known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::claims::Rows;
use super::model::{Claim, Destination, Endpoints, Ports, RuleSlot, Slot, Table};
use crate::rules::{Mode, Protocol};

/// Databases and closed ports at one address, whatever the port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// A tombstone, or a guarded port that no database claims, applies at the address.
    pub closed: bool,
    /// The databases with an endpoint there, wildcards included; enforcing ones first.
    pub databases: BTreeSet<(Mode, Slot, RuleSlot)>,
}

impl Members {
    fn is_empty(&self) -> bool {
        !self.closed && self.databases.is_empty()
    }
}

impl Table {
    /// The table of these endpoints.
    #[must_use]
    pub fn new(endpoints: Endpoints, guarded: &Ports) -> Self {
        let rows: Rows = endpoints.iter().map(|(to, claim)| (*to, *claim)).collect();
        Self { endpoints, members: members(&rows, guarded) }
    }

    /// The table of these rows, unless it is `live` already; compared before it is built.
    pub(super) fn unless_live(rows: Rows, guarded: &Ports, live: &Self) -> Option<Self> {
        let members = members(&rows, guarded);
        let same = rows.len() == live.endpoints.len()
            && rows.iter().map(|(to, claim)| (to, claim)).eq(&live.endpoints)
            && members == live.members;
        (!same).then(|| Self { endpoints: rows.into_iter().collect(), members })
    }
}

/// Members by address, of rows in the order of their destinations. An address has members of its own only where they
/// differ from those of every other address (`None`), which has an entry only where there are some.
fn members(rows: &[(Destination, Claim)], guarded: &Ports) -> BTreeMap<Option<IpAddr>, Members> {
    let mut sites = rows.chunk_by(|(one, _), (next, _)| one.address == next.address).peekable();
    // The wildcards come first.
    let wildcards = sites.next_if(|site| site.first().is_some_and(|(one, _)| one.address.is_none()));
    let everywhere = Everywhere::new(wildcards.unwrap_or_default(), guarded);
    let own = |site: &[(Destination, Claim)]| {
        let (to, _) = site.first()?;
        Some((to.address, everywhere.with(site, guarded)?))
    };
    let mut members: BTreeMap<_, _> = sites.filter_map(own).collect();
    if !everywhere.members.is_empty() {
        members.insert(None, everywhere.members);
    }
    members
}

/// The wildcards of a table.
struct Everywhere {
    members: Members,
    open: BTreeSet<(u16, Protocol)>,
    /// Tombstones: each gives way to an endpoint of an address's own on the same port and protocol.
    closed: BTreeSet<(u16, Protocol)>,
    /// Guarded ports, once for each protocol, without a wildcard endpoint.
    unclaimed: usize,
}

impl Everywhere {
    fn new(wildcards: &[(Destination, Claim)], guarded: &Ports) -> Self {
        let mut everywhere = Self {
            members: Members::default(),
            open: BTreeSet::new(),
            closed: BTreeSet::new(),
            unclaimed: 2 * guarded.len(),
        };
        for (Destination { port, protocol, .. }, claim) in wildcards {
            match claim {
                Claim::Closed => _ = everywhere.closed.insert((*port, *protocol)),
                Claim::Open { slot, mode, default_line } => {
                    everywhere.members.databases.insert((*mode, *slot, *default_line));
                    everywhere.open.insert((*port, *protocol));
                    everywhere.unclaimed -= usize::from(guarded.contains(*port));
                }
            }
        }
        everywhere.members.closed = !everywhere.closed.is_empty() || everywhere.unclaimed > 0;
        everywhere
    }

    /// Members at an address with these rows of its own; `None` where they are those of every other address.
    fn with(&self, site: &[(Destination, Claim)], guarded: &Ports) -> Option<Members> {
        let (mut tombstones, mut unclaimed) = (self.closed.len(), self.unclaimed);
        let mut own = Vec::new();
        for (Destination { port, protocol, .. }, claim) in site {
            let place = (*port, *protocol);
            match claim {
                Claim::Closed => tombstones += 1,
                Claim::Open { slot, mode, default_line } => {
                    own.push((*mode, *slot, *default_line));
                    tombstones -= usize::from(self.closed.contains(&place));
                    unclaimed -= usize::from(guarded.contains(*port) && !self.open.contains(&place));
                }
            }
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
