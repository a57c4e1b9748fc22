//! Random addresses and ports, biased towards a policy's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use firewall_tests::packets::protocol;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::policy::{Endpoint, Policy};

/// Sources, endpoints and guarded ports of a policy.
pub struct Addresses {
    sources4: Vec<Ipv4Net>,
    sources6: Vec<Ipv6Net>,
    endpoints: Vec<Endpoint>,
    guard_edges: Vec<u16>,
}

/// The destination of a packet.
#[derive(Clone, Copy, Debug)]
pub struct PacketDestination {
    pub address: IpAddr,
    pub port: u16,
    /// TCP or UDP.
    pub protocol: u8,
}

impl Addresses {
    pub fn new(policy: &Policy) -> Self {
        let networks =
            || policy.databases.iter().flat_map(|database| &database.allow).map(|(network, _)| *network);
        let edges = |range: &std::ops::RangeInclusive<u16>| {
            let (first, last) = (*range.start(), *range.end());
            [first.saturating_sub(1), first, last, last.saturating_add(1)]
        };
        Self {
            sources4: networks()
                .filter_map(|network| if let IpNet::V4(own) = network { Some(own) } else { None })
                .collect(),
            sources6: networks()
                .filter_map(|network| if let IpNet::V6(own) = network { Some(own) } else { None })
                .collect(),
            endpoints: policy.endpoints.clone(),
            guard_edges: policy.guards().flat_map(edges).collect(),
        }
    }

    /// Returns mostly an allowed IPv4 source; else any, or the first bytes of an allowed IPv6 source, which a filter
    /// that confuses the families would accept.
    pub fn ipv4_source(&self, rng: &mut Rng) -> Ipv4Addr {
        match rng.u8(..8) {
            0..5 if !self.sources4.is_empty() => {
                let network = self.sources4[rng.usize(..self.sources4.len())];
                Ipv4Addr::from_bits(network.network().to_bits() | rng.u32(..) & network.hostmask().to_bits())
            }
            5 if !self.sources6.is_empty() => {
                first_bytes(self.sources6[rng.usize(..self.sources6.len())].network())
            }
            _ => Ipv4Addr::from_bits(rng.u32(..)),
        }
    }

    /// Returns mostly an allowed IPv6 source; else any, or an IPv4 source in its mapped form.
    pub fn ipv6_source(&self, rng: &mut Rng) -> Ipv6Addr {
        match rng.u8(..8) {
            0..5 if !self.sources6.is_empty() => {
                let network = self.sources6[rng.usize(..self.sources6.len())];
                Ipv6Addr::from_bits(network.network().to_bits() | rng.u128(..) & network.hostmask().to_bits())
            }
            5 if !self.sources4.is_empty() => {
                self.sources4[rng.usize(..self.sources4.len())].network().to_ipv6_mapped()
            }
            _ => Ipv6Addr::from_bits(rng.u128(..)),
        }
    }

    /// Returns an IPv4 destination, mostly that of an endpoint, then mostly with its port and protocol.
    pub fn ipv4_destination(&self, rng: &mut Rng) -> PacketDestination {
        let any = if is_unspecified(rng) { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::from_bits(rng.u32(..)) };
        self.destination(rng, any.into(), |address| match address {
            IpAddr::V4(_) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    /// Returns an IPv6 destination, mostly that of an endpoint, then mostly with its port and protocol.
    pub fn ipv6_destination(&self, rng: &mut Rng) -> PacketDestination {
        let any = if is_unspecified(rng) { Ipv6Addr::UNSPECIFIED } else { Ipv6Addr::from_bits(rng.u128(..)) };
        let mapped = rng.u8(..16) == 0;
        self.destination(rng, any.into(), |address| match address {
            IpAddr::V4(own) => mapped.then(|| own.to_ipv6_mapped().into()),
            IpAddr::V6(_) => Some(address),
        })
    }

    fn destination(
        &self,
        rng: &mut Rng,
        any: IpAddr,
        in_family: impl Fn(IpAddr) -> Option<IpAddr>,
    ) -> PacketDestination {
        let candidates: Vec<_> =
            self.endpoints.iter().filter(|e| e.address.is_none_or(|own| in_family(own).is_some())).collect();
        let endpoint =
            (!candidates.is_empty() && rng.u8(..8) > 0).then(|| candidates[rng.usize(..candidates.len())]);
        let transport = if rng.bool() { protocol::TCP } else { protocol::UDP };
        let port = match rng.u8(..16) {
            0 if !self.guard_edges.is_empty() => self.guard_edges[rng.usize(..self.guard_edges.len())],
            1 if !self.endpoints.is_empty() => self.endpoints[rng.usize(..self.endpoints.len())].port,
            2 => rng.u16(..),
            _ => endpoint.map_or_else(|| rng.u16(..), |endpoint| endpoint.port),
        };
        PacketDestination {
            address: endpoint.and_then(|e| e.address).and_then(in_family).unwrap_or(any),
            port,
            protocol: endpoint.filter(|_| rng.u8(..4) > 0).map_or(transport, |endpoint| endpoint.protocol),
        }
    }
}

/// Returns whether the other destination is the address by which the endpoint table means any address.
fn is_unspecified(rng: &mut Rng) -> bool {
    rng.u8(..8) == 0
}

fn first_bytes(address: Ipv6Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits((address.to_bits() >> 96) as u32)
}
