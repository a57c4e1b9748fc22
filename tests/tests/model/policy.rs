//! Input of the reference decision: a rule set as plain data.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// At most one per address (or none), port and protocol.
    pub endpoints: Vec<Endpoint>,
    pub databases: Vec<Database>,
    /// Ports that are closed, for TCP and UDP, unless an endpoint claims them; the ranges do not overlap.
    pub guarded: Vec<RangeInclusive<u16>>,
    /// Those that are closed to new connections only; these ranges do not overlap those of `guarded`.
    pub new_connections: Vec<RangeInclusive<u16>>,
    /// Blocked networks, each at the database with this index, or at every endpoint.
    pub blocked: Vec<(IpNet, Option<usize>)>,
}

#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// `None`: every destination address, of either family.
    pub address: Option<IpAddr>,
    pub port: u16,
    pub protocol: u8,
    pub owner: Owner,
}

/// Owner of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Index in [`Policy::databases`].
    Database(usize),
    /// No owner: a tombstone.
    Closed,
}

#[derive(Clone, Debug, Default)]
pub struct Database {
    /// Source networks, without host bits, each with the number of its rule.
    pub allow: Vec<(IpNet, u32)>,
    pub monitor: bool,
}

impl Policy {
    /// Returns the owner of this destination: an endpoint with the address takes precedence over one without.
    pub fn owner(&self, address: IpAddr, port: u16, protocol: u8) -> Option<Owner> {
        let matching = |at: Option<IpAddr>| {
            let found =
                self.endpoints.iter().find(|e| (e.address, e.port, e.protocol) == (at, port, protocol));
            found.map(|endpoint| endpoint.owner)
        };
        matching(Some(address)).or_else(|| matching(None))
    }

    /// Returns whether the port is closed to every packet.
    pub fn is_strict(&self, port: u16) -> bool {
        self.guarded.iter().any(|range| range.contains(&port))
    }

    /// Returns whether the port is guarded in either way.
    pub fn is_guarded(&self, port: u16) -> bool {
        self.is_strict(port) || self.new_connections.iter().any(|range| range.contains(&port))
    }

    /// Returns the databases with an endpoint at this address or at every address, with their indices.
    pub fn members(&self, address: IpAddr) -> impl Iterator<Item = (usize, &Database)> {
        let is_there = move |at| self.endpoints_at(address).any(|e| e.owner == Owner::Database(at));
        self.databases.iter().enumerate().filter(move |(at, _)| is_there(*at))
    }

    /// Returns whether the source is blocked at the database with this index.
    pub fn is_blocked(&self, source: IpAddr, database: usize) -> bool {
        let is_here = |at: &Option<usize>| at.is_none_or(|at| at == database);
        self.blocked.iter().any(|(network, at)| is_here(at) && network.contains(&source))
    }

    /// Returns whether some port at this address is closed: by a tombstone, or guarded and claimed by no database.
    pub fn closes_some_port(&self, address: IpAddr) -> bool {
        if self.endpoints_at(address).any(|endpoint| endpoint.owner == Owner::Closed) {
            return true;
        }
        let guarded: usize = self.guards().map(|range| usize::from(range.end() - range.start()) + 1).sum();
        let mut claimed: Vec<_> = self
            .endpoints_at(address)
            .filter(|endpoint| self.is_guarded(endpoint.port))
            .map(|endpoint| (endpoint.port, endpoint.protocol))
            .collect();
        claimed.sort_unstable();
        claimed.dedup();
        claimed.len() < 2 * guarded
    }

    /// The ranges of both kinds.
    pub fn guards(&self) -> impl Iterator<Item = &RangeInclusive<u16>> {
        self.guarded.iter().chain(&self.new_connections)
    }

    fn endpoints_at(&self, address: IpAddr) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(move |endpoint| endpoint.address.is_none_or(|own| own == address))
    }
}

impl Database {
    /// Returns the rule of the longest network that contains `source`; the first of equals.
    pub fn rule_for(&self, source: IpAddr) -> Option<u32> {
        let containing = self.allow.iter().filter(|(network, _)| network.contains(&source));
        let longest = containing
            .reduce(|best, next| if next.0.prefix_len() > best.0.prefix_len() { next } else { best });
        longest.map(|(_, rule)| *rule)
    }
}
