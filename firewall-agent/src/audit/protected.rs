//! Destinations that no packet may reach unseen.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::rules::Protocol;
use crate::sync::{Destination, Guards, Live, Ports};

pub(super) const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// Endpoints, tombstones and guarded ports that are live in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protected {
    /// Endpoints and tombstones.
    destinations: BTreeSet<Destination>,
    guarded: Guards,
}

impl Protected {
    #[must_use]
    pub fn new(destinations: impl IntoIterator<Item = Destination>, guarded: Guards) -> Self {
        Self { destinations: destinations.into_iter().collect(), guarded }
    }

    #[must_use]
    pub fn of(live: &Live) -> Self {
        Self::new(live.table.endpoints.keys().copied(), live.guarded.clone())
    }

    /// Returns `true` if nothing is protected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.destinations.is_empty() && self.guarded.is_empty()
    }

    /// Returns `true` if the port is protected at any address.
    pub(super) fn has_port(&self, port: u16, protocol: Protocol) -> bool {
        self.guarded.contains(port)
            || self
                .destinations
                .iter()
                .any(|destination| destination.port == port && destination.protocol == protocol)
    }

    pub(super) fn has_any_of(&self, mut ports: RangeInclusive<u16>, protocol: Option<Protocol>) -> bool {
        let wanted = |one| protocol.is_none_or(|wanted| wanted == one);
        ports.any(|port| PROTOCOLS.into_iter().any(|one| wanted(one) && self.has_port(port, one)))
    }

    /// Returns `true` if the programs judge packets to this destination; `None` is any address.
    pub(super) fn judges(&self, address: Option<IpAddr>, port: u16, protocol: Protocol) -> bool {
        let destination = Destination { address, port, protocol };
        self.guarded.contains(port) || self.destinations.iter().any(|one| one.covers(&destination))
    }

    /// Returns `true` if the port is guarded and no endpoint takes packets to this address there; an unspecified address
    /// is any.
    pub(super) fn is_closed(&self, address: IpAddr, port: u16, protocol: Protocol) -> bool {
        let is_at =
            |one: &Destination| one.address.is_none_or(|own| address.is_unspecified() || own == address);
        let mut at_port = self.destinations.iter().filter(|one| one.port == port && one.protocol == protocol);
        self.guarded.contains(port) && !at_port.any(is_at)
    }

    /// Every protected port, in ascending order.
    pub(super) fn ports(&self) -> Ports {
        self.guarded.ports().union(&self.claimed(None))
    }

    /// Every port at which answers to connections of this protocol (`None`: of both) may be dropped.
    pub(super) fn cutting(&self, protocol: Option<Protocol>) -> Ports {
        let guarded = match protocol {
            Some(Protocol::Tcp) => self.guarded.strict().clone(),
            Some(Protocol::Udp) | None => self.guarded.ports(),
        };
        guarded.union(&self.claimed(protocol))
    }

    fn claimed(&self, protocol: Option<Protocol>) -> Ports {
        let is_of = |one: &&Destination| protocol.is_none_or(|protocol| protocol == one.protocol);
        self.destinations.iter().filter(is_of).map(|one| one.port).collect()
    }
}
