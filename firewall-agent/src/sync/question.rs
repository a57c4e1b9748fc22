//! A probe packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::model::{Destination, Live};
use crate::rules::Protocol;

/// Source and destination of one probe packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    pub source: IpAddr,
    /// Destination as in the probe request or in the endpoint table.
    pub destination: Destination,
    /// Destination address in the packet: for a wildcard endpoint, an address that no endpoint names.
    pub address: IpAddr,
}

impl Question {
    /// Returns `None` when source and destination are of different families.
    #[must_use]
    pub fn new(source: IpAddr, destination: Destination, live: &Live) -> Option<Self> {
        let address = match destination.address {
            Some(address) => address,
            None => unnamed(source, live)?,
        };
        (source.is_ipv4() == address.is_ipv4()).then_some(Self { source, destination, address })
    }
}

/// An address of the source's family at which only wildcards apply.
fn unnamed(source: IpAddr, live: &Live) -> Option<IpAddr> {
    let named = |address: &IpAddr| {
        let first = Destination { address: Some(*address), port: 0, protocol: Protocol::Tcp };
        let endpoints = &live.table.endpoints;
        let (open, closed) =
            (endpoints.open().range(first..).next(), endpoints.closed().range(first..).next());
        let nearest = open.map(|(destination, _)| destination).into_iter().chain(closed);
        nearest.into_iter().any(|destination| destination.address == Some(*address))
    };
    (1..=u8::MAX)
        .map(|host| match source {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into())),
        })
        .find(|address| !named(address))
}
