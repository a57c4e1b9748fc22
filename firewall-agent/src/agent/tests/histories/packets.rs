//! A small universe of packets, and the verdict of a kernel on each: computed without the agent's own code.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;

use crate::rules::{Mode, Protocol};
use crate::sync::{Destination, Live, Ports, TableEntry};

/// Addresses of the host. Rule files name the first three; wildcards alone cover the others.
pub const ADDRESSES: [&str; 3] = ["192.0.2.1", "192.0.2.2", "2001:db8::1"];
const UNNAMED: [&str; 2] = ["192.0.2.9", "2001:db8::9"];
pub const PORTS: [u16; 3] = [5001, 5004, 5009];
/// The port that is judged for UDP, too.
const UDP_PORT: u16 = 5009;
/// Networks that rules and managed ranges name.
pub const NETS: [&str; 8] = [
    "203.0.113.0/24",
    "203.0.113.9/32",
    "198.51.100.0/25",
    "198.51.100.1/32",
    "0.0.0.0/0",
    "2001:db8:1::/48",
    "2001:db8:1::5/128",
    "2001:db8:2::/48",
];
/// Sources; the last of each family is in none of the smaller networks.
const SOURCES: [&str; 8] = [
    "203.0.113.9",
    "203.0.113.77",
    "198.51.100.1",
    "100.64.0.1",
    "2001:db8:1::5",
    "2001:db8:1::6",
    "2001:db8:2::1",
    "fd00::1",
];

/// A set of packets: one bit per source and destination.
pub type Packets = u128;
/// A set of sources.
type Sources = u8;

struct Universe {
    destinations: Vec<Destination>,
    sources: Vec<IpAddr>,
    nets: Vec<(IpNet, Sources)>,
    /// Sources of the family of each destination.
    families: Vec<Sources>,
}

static UNIVERSE: LazyLock<Universe> = LazyLock::new(|| {
    let addresses = ADDRESSES.into_iter().chain(UNNAMED).map(|address| address.parse::<IpAddr>().unwrap());
    let mut destinations = Vec::new();
    for address in addresses {
        for port in PORTS {
            destinations.push(Destination { address: Some(address), port, protocol: Protocol::Tcp });
        }
    }
    let address = Some(ADDRESSES[0].parse().unwrap());
    destinations.push(Destination { address, port: UDP_PORT, protocol: Protocol::Udp });
    assert!(destinations.len() * 8 <= 128);
    let sources: Vec<IpAddr> = SOURCES.iter().map(|source| source.parse().unwrap()).collect();
    let within = |is_within: &dyn Fn(&IpAddr) -> bool| {
        let bits = sources.iter().enumerate().filter(|(_, source)| is_within(source));
        bits.fold(0, |sum, (bit, _)| sum | 1 << bit)
    };
    let nets = NETS.iter().map(|net| net.parse::<IpNet>().unwrap());
    let nets = nets.map(|net| (net, within(&|source| net.contains(source)))).collect();
    let family = |destination: &Destination| {
        let is_v4 = destination.address.is_some_and(|address| address.is_ipv4());
        within(&|source| source.is_ipv4() == is_v4)
    };
    let families = destinations.iter().map(family).collect();
    Universe { destinations, sources: sources.clone(), nets, families }
});

/// Sources within a network of [`NETS`].
fn within(net: &IpNet) -> Sources {
    UNIVERSE.nets.iter().find(|(known, _)| known == net).map_or(0, |(_, sources)| *sources)
}

fn packets(destination: usize, sources: Sources) -> Packets {
    Packets::from(sources & UNIVERSE.families[destination]) << (destination * 8)
}

/// Every packet to a destination for which `is_chosen` is `true`.
pub fn to(is_chosen: impl Fn(&Destination) -> bool) -> Packets {
    let chosen = UNIVERSE.destinations.iter().enumerate().filter(|(_, destination)| is_chosen(destination));
    chosen.fold(0, |sum, (number, _)| sum | packets(number, Sources::MAX))
}

/// Every packet to these destinations, wildcards included.
pub fn to_claimed(claims: &BTreeSet<Destination>) -> Packets {
    to(|destination| claims.contains(destination) || claims.contains(&destination.everywhere()))
}

pub fn to_ports(ports: &Ports) -> Packets {
    to(|destination| ports.contains(destination.port))
}

/// Packets from these networks, or from anywhere, to these destinations.
pub fn from<'a>(
    nets: impl IntoIterator<Item = &'a IpNet>,
    anywhere: bool,
    claims: &BTreeSet<Destination>,
) -> Packets {
    let sources =
        nets.into_iter().fold(if anywhere { Sources::MAX } else { 0 }, |sum, net| sum | within(net));
    let every = (0..UNIVERSE.destinations.len()).fold(0, |sum, number| sum | packets(number, sources));
    every & to_claimed(claims)
}

/// Packets from a network to any destination.
pub fn from_anywhere(net: &IpNet) -> Packets {
    (0..UNIVERSE.destinations.len()).fold(0, |sum, number| sum | packets(number, within(net)))
}

/// Packets by their treatment in a kernel. They are TCP packets that cannot open a connection: a port that is closed to
/// new connections only does not stop them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Treatment {
    pub passed: Packets,
    /// To destinations that the kernel protects.
    pub protected: Packets,
    /// To open endpoints.
    pub at_endpoints: Packets,
}

pub fn judge(live: &Live) -> Treatment {
    let Treatment { mut passed, mut protected, mut at_endpoints } = Treatment::default();
    let allowed = |slot| {
        let database = live.databases.get(&slot)?;
        Some(database.sources.iter().fold(0, |sum, (net, _)| sum | within(&net)))
    };
    let blocked = |slot| {
        let lists = [&live.blocks.ranges, &live.blocks.local];
        let entries = lists.into_iter().flat_map(|list| list.sources.keys());
        let here = entries.filter(|entry| entry.database.is_none_or(|database| database == slot));
        here.fold(0, |sum, entry| sum | within(&entry.net))
    };
    for (number, destination) in UNIVERSE.destinations.iter().enumerate() {
        let (every, is_guarded) =
            (packets(number, Sources::MAX), live.guarded.strict().contains(destination.port));
        if !is_guarded && !live.claimed.contains(destination.port) {
            passed |= every;
            continue;
        }
        let endpoints = &live.table.endpoints;
        match endpoints.get(destination).or_else(|| endpoints.get(&destination.everywhere())) {
            Some(TableEntry::Open { slot, mode, .. }) => {
                let sources = if *mode == Mode::Monitor { Sources::MAX } else { allowed(*slot).unwrap_or(0) };
                passed |= packets(number, sources & !blocked(*slot));
                protected |= every;
                at_endpoints |= every;
            }
            Some(TableEntry::Tombstone) => protected |= every,
            None if is_guarded => protected |= every,
            None => passed |= every,
        }
    }
    Treatment { passed, protected, at_endpoints }
}

/// Readable sample of these packets.
pub fn describe(packets: Packets) -> String {
    let bits = (0..128).filter(|bit| packets >> bit & 1 == 1);
    let one = |bit: usize| format!("{} → {}", UNIVERSE.sources[bit % 8], UNIVERSE.destinations[bit / 8]);
    let shown: Vec<String> = bits.take(4).map(one).collect();
    format!("{} packets: {}", packets.count_ones(), shown.join(", "))
}
