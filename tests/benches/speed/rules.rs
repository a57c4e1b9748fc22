//! The programs, with rule sets of any size in force.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use fastrand::Rng;
use firewall_agent::bpf::{Kernel, MapSizes, Pins, Programs};
use firewall_agent::rules::{CounterKey, ManagedRange, ManagedRanges, Mode, Protocol, RuleSet};
use firewall_agent::sync::{
    BlockedRanges, CounterKind, Desired, DesiredDatabase, Destination, Guards, Live, publish,
};
use firewall_common::names;
use firewall_tests::lab::Lab;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;

use crate::rights::with_three_capabilities;
use crate::run::Pinned;

pub const ADDRESS4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);
/// First port of the first database; the following ports belong to the next databases.
pub const PORT: u16 = 30_000;
/// Always allowed, by its own prefix.
pub const FRIEND4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub const FRIEND6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 7);
/// Never allowed.
pub const STRANGER4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);
pub const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xbad, 0xb, 0, 0, 0, 0, 0x66);
/// Not allowed, but next to an allowed prefix: the source prefilter does not tell it from a friend.
pub const NEIGHBOUR4: Ipv4Addr = Ipv4Addr::new(203, 0, 114, 7);

pub const BPFFS: &str = "/sys/fs/bpf/firewall-agent";

/// Programs and maps in their own namespaces.
pub struct Bench {
    pub pins: Pins,
    pub kernel: Kernel,
    pub live: Live,
    /// Endpoints of each database, in each family.
    pub ports: u16,
    /// Prefixes of a blocked range in each family; neighbours of none of the sources.
    pub blocked: usize,
    revision: u64,
    _programs: Programs,
    pub lab: Lab,
}

impl Bench {
    pub fn new(databases: u32, accelerations: u32) -> Self {
        let lab = Lab::new().unwrap();
        let pins = Pins::new(Path::new(BPFFS));
        pins.create().unwrap();
        let capacity = MapSizes::for_databases(databases);
        let mut programs =
            with_three_capabilities(|| Programs::load_with(&pins, capacity, accelerations).unwrap());
        programs.pin(&pins).unwrap();
        programs.pin_measured(&pins).unwrap();
        let kernel = Kernel::open(Path::new(BPFFS)).unwrap();
        let live = kernel.live().unwrap();
        Self { pins, kernel, live, ports: 1, blocked: 0, revision: 0, _programs: programs, lab }
    }

    pub fn program(&self, name: &str) -> Pinned {
        Pinned::open(&self.pins.program(name))
    }

    pub fn firewall(&self) -> Pinned {
        self.program(names::FIREWALL)
    }

    /// Publishes this number of databases on consecutive ports, each with `cidrs` prefixes in each family.
    pub fn publish(&mut self, databases: u16, cidrs: usize) {
        let desired = self.next(databases, cidrs);
        self.put_in_force(&desired);
    }

    /// Returns the next revision of them.
    pub fn next(&mut self, databases: u16, cidrs: usize) -> Desired {
        self.revision += 1;
        let desired = desired(databases, cidrs, self.ports, self.revision);
        Desired { blocked_ranges: Arc::new(blocked_ranges(self.blocked)), ..desired }
    }

    pub fn put_in_force(&mut self, desired: &Desired) {
        let done = publish(desired, &mut self.live, &mut self.kernel, Timestamp::now());
        assert!(done.failed.is_empty() && done.errors.is_empty(), "{done:?}");
    }
}

fn desired(databases: u16, cidrs: usize, ports: u16, revision: u64) -> Desired {
    let mut desired = Desired { guarded: Guards::from([5432]), ..Desired::default() };
    for number in 0..databases {
        let id = format!("db-{number}").parse().unwrap();
        desired.databases.insert(id, database(number, cidrs, ports, revision).into());
    }
    desired
}

fn blocked_ranges(prefixes: usize) -> BlockedRanges {
    let mut rng = Rng::with_seed(77);
    let mut cidrs = BTreeSet::new();
    while cidrs.len() < prefixes {
        cidrs.insert(IpNet::V4(other_network(&mut rng)));
    }
    while cidrs.len() < 2 * prefixes {
        cidrs.insert(IpNet::V6(other_network6(&mut rng)));
    }
    let range = ManagedRange { name: "blocked".to_owned(), cidrs, accept_shrink: false };
    let ranges = BTreeMap::from([("blocked".parse().unwrap(), Arc::new(range))]);
    BlockedRanges::new(&ManagedRanges { revision: 1, generated_at: Timestamp::UNIX_EPOCH, ranges })
}

/// A random network without a source of the measured packets.
fn other_network(rng: &mut Rng) -> Ipv4Net {
    loop {
        let address = Ipv4Addr::from(rng.u32(0x0100_0000..0xdf00_0000));
        let net = Ipv4Net::new(address, rng.u8(24..=32)).unwrap().trunc();
        if ![FRIEND4, STRANGER4, NEIGHBOUR4].iter().any(|source| net.contains(source)) {
            return net;
        }
    }
}

fn other_network6(rng: &mut Rng) -> Ipv6Net {
    let address = Ipv6Addr::from(rng.u128(..) >> 3 | 1 << 125);
    Ipv6Net::new(address, rng.u8(48..=128)).unwrap().trunc()
}

fn database(number: u16, cidrs: usize, ports: u16, revision: u64) -> DesiredDatabase {
    // The fixed seed limits a revision's change to one prefix.
    let mut rng = Rng::with_seed(u64::from(number));
    let key = CounterKey::Rule("fr-1".parse().unwrap());
    let mut set = RuleSet::default();
    set.prefixes.v4.insert(Ipv4Net::new(FRIEND4, 24).unwrap().trunc(), key.clone());
    set.prefixes.v6.insert(Ipv6Net::new(FRIEND6, 48).unwrap().trunc(), key.clone());
    set.prefixes
        .v4
        .insert(Ipv4Net::from(Ipv4Addr::from(0x0a00_0000 + (revision as u32 & 0x00ff_ffff))), key.clone());
    while set.prefixes.v4.len() < cidrs {
        set.prefixes.v4.insert(other_network(&mut rng), key.clone());
    }
    while set.prefixes.v6.len() < cidrs {
        set.prefixes.v6.insert(other_network6(&mut rng), key.clone());
    }
    let ports = (0..ports).map(|at| PORT + number * ports + at);
    let addresses = [IpAddr::V4(ADDRESS4), IpAddr::V6(ADDRESS6)];
    let destination = |port, address| Destination { address: Some(address), port, protocol: Protocol::Tcp };
    let destinations = ports.flat_map(|port| addresses.map(|address| destination(port, address)));
    DesiredDatabase {
        is_closed: false,
        name: String::new(),
        revision,
        mode: Mode::Enforce,
        destinations: destinations.collect(),
        set,
        counters: BTreeMap::from([(key, (CounterKind::Custom, String::new()))]),
    }
}

/// Returns the IPv4 networks that the first database allows.
pub fn networks(cidrs: usize) -> Vec<Ipv4Net> {
    desired(1, cidrs, 1, 1)
        .databases
        .into_values()
        .flat_map(|database| database.set.prefixes.v4.keys().copied().collect::<Vec<_>>())
        .collect()
}
