//! Judge of open TCP sessions: finds those whose packets XDP refuses by the published state.
//!
//! In doubt a session is kept. These are left alone: destinations that no file ever claimed, also at guarded ports
//! (translation may have led there); databases in monitor mode; a list whose contents are unknown; a destination that waits for the store
//! and may open within a second; sessions that no listener can have accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::block_list::BlockLists;
use super::claimed_destinations::ClaimedDestinations;
use super::endpoints::Endpoints;
use super::indices::{CounterId, DatabaseSlot};
use super::model::{Destination, Live, Ports, TableEntry};
use super::remainder::around;
use crate::rules::{DatabaseId, Mode, PrefixMap, Protocol};

/// Addresses of a TCP session as its socket has them: IPv4-mapped at a socket of both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

/// Addresses of the TCP listeners of this host.
#[derive(Debug, Clone, Default)]
pub struct Listeners {
    /// `true` where some listener accepts IPv4, too.
    by_address: BTreeMap<SocketAddr, bool>,
}

impl Listeners {
    /// Adds a listener. `v6_only`: an IPv6 socket that accepts no IPv4.
    pub fn add(&mut self, address: SocketAddr, v6_only: bool) {
        *self.by_address.entry(address).or_default() |= !v6_only;
    }

    /// Ports with a listener.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        self.by_address.keys().map(SocketAddr::port).collect()
    }

    /// Returns `true` if a listener may have accepted a session with this local address. A session has the family of its
    /// listener.
    #[must_use]
    pub fn accept(&self, local: SocketAddr) -> bool {
        let (any, is_v4): (IpAddr, bool) = match local.ip() {
            IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), true),
            IpAddr::V6(address) => (Ipv6Addr::UNSPECIFIED.into(), address.to_ipv4_mapped().is_some()),
        };
        let accepts_v4 = |address: IpAddr| self.by_address.get(&SocketAddr::new(address, local.port()));
        accepts_v4(local.ip()).is_some() || accepts_v4(any).is_some_and(|accepts| *accepts || !is_v4)
    }
}

/// The database that refuses a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedBy {
    /// The last claimant of a closed destination; `None` if the store does not know it.
    pub database: Option<DatabaseId>,
    /// The revision in force; `None` for a closed destination.
    pub revision: Option<u64>,
}

/// The published access to the TCP destinations of this host.
#[derive(Debug, Clone, Default)]
pub struct SessionJudge {
    endpoints: Endpoints,
    /// Ports that are closed to every packet.
    guarded: Ports,
    databases: BTreeMap<DatabaseSlot, AllowList>,
    blocks: BlockLists,
    /// At such a port a closed destination has no entry in the endpoint table, only its claim.
    claims: Arc<ClaimedDestinations>,
    /// Destinations that are closed only until the store has their claims.
    withheld: BTreeSet<Destination>,
}

#[derive(Debug, Clone)]
struct AllowList {
    id: DatabaseId,
    revision: u64,
    sources: Arc<PrefixMap<CounterId>>,
}

impl SessionJudge {
    /// The judge of this state. Shares the allow lists with it.
    #[must_use]
    pub fn new(live: &Live, claims: &Arc<ClaimedDestinations>, withheld: &BTreeSet<Destination>) -> Self {
        let databases = live.databases.iter().filter_map(|(slot, database)| {
            let revision = database.stamp.as_ref()?.revision;
            let (id, sources) = (database.id.clone(), Arc::clone(&database.sources));
            Some((*slot, AllowList { id, revision, sources }))
        });
        Self {
            endpoints: live.table.endpoints.clone(),
            guarded: live.guarded.strict().clone(),
            databases: databases.collect(),
            blocks: live.blocks.clone(),
            claims: Arc::clone(claims),
            withheld: withheld.clone(),
        }
    }

    /// TCP ports at which a session may be refused.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        let blocks = self.blocks != BlockLists::default();
        let refuses =
            |entry: &TableEntry| blocks || !matches!(entry, TableEntry::Open { mode: Mode::Monitor, .. });
        let rows = self.endpoints.iter().filter(|(_, entry)| refuses(entry)).map(|(to, _)| to);
        let claims = self.claims.iter().filter(|to| self.guarded.contains(to.port));
        rows.chain(claims).filter(|to| to.protocol == Protocol::Tcp).map(|to| to.port).collect()
    }

    /// The database that refuses an accepted session; `None` to keep it.
    #[must_use]
    pub fn refusal(&self, session: &Session, listeners: &Listeners) -> Option<RefusedBy> {
        if !listeners.accept(session.local) {
            return None;
        }
        let (local, peer) = (session.local.ip().to_canonical(), session.peer.ip().to_canonical());
        let own = Destination { address: Some(local), port: session.local.port(), protocol: Protocol::Tcp };
        let destinations = [own, own.everywhere()];
        match destinations.iter().find_map(|to| self.endpoints.get(to)) {
            Some(TableEntry::Open { slot, mode, .. }) => {
                let AllowList { id, revision, sources } = self.databases.get(slot)?;
                let refused = RefusedBy { database: Some(id.clone()), revision: Some(*revision) };
                let passes = *mode == Mode::Monitor || is_allowed(peer, sources);
                let is_blocked = self.blocks.blocking(peer, *slot).is_some();
                (is_blocked || !passes).then_some(refused)
            }
            Some(TableEntry::Tombstone) => self.closed(&destinations),
            None if self.guarded.contains(own.port)
                && destinations.iter().any(|to| self.claims.contains(to)) =>
            {
                self.closed(&destinations)
            }
            None => None,
        }
    }

    /// The refusal at a closed destination; `None` if it waits for the store.
    fn closed(&self, destinations: &[Destination]) -> Option<RefusedBy> {
        if destinations.iter().any(|to| self.withheld.contains(to)) {
            return None;
        }
        let database = destinations.iter().find_map(|to| self.claims.claimant(to)).cloned();
        Some(RefusedBy { database, revision: None })
    }
}

fn is_allowed(peer: IpAddr, sources: &PrefixMap<CounterId>) -> bool {
    around(IpNet::from(peer)).any(|net| sources.get(&net).is_some())
}
