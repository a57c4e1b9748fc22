//! Two alternating rule sets, and a second database that is added and removed.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use firewall_agent::sync::{Desired, Live};
use firewall_tests::lab::RuleFile;
use ipnet::{Ipv4Net, Ipv6Net};

use crate::kernel;

pub const DATABASE: &str = "orders";
/// Shares the first database's address, on another port.
pub const NEIGHBOUR: &str = "reports";
pub const PORT: u16 = 30_092;
pub const NEIGHBOUR_PORT: u16 = 30_093;
pub const GUARDED: RangeInclusive<u16> = 30_000..=32_767;
pub const ADDRESS4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);

/// In both sets, through a different prefix in each.
pub const ALWAYS4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
pub const ALWAYS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 5);
/// In neither set, between networks of both.
pub const NEVER4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);
pub const NEVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0x66);
/// In the first set only.
pub const FIRST4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub const FIRST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7);
/// In the first set only and in the second only, in networks with no other prefix: no filter confuses them.
pub const APART4: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 1)];
pub const APART6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0x2a00, 1, 0xd, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2a00, 2, 0xe, 0, 0, 0, 0, 1)];

const FIRST: [&str; 6] = [
    "203.0.113.0/24",
    "198.51.100.0/26",
    "10.1.0.0/16",
    "2001:db8:a::/48",
    "2001:db8:c::/64",
    "2a00:1:d::/48",
];
const SECOND: [&str; 6] = [
    "203.0.113.5/32",
    "198.51.100.128/25",
    "10.2.0.0/16",
    "2001:db8:a::5/128",
    "2001:db8:b::/122",
    "2a00:2:e::/48",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    First,
    Second,
}

impl Set {
    /// Returns the set of the publish with this number.
    pub fn of_turn(turn: u64) -> Self {
        if turn.is_multiple_of(2) { Self::First } else { Self::Second }
    }

    pub fn v4(self) -> BTreeSet<Ipv4Net> {
        self.cidrs().iter().filter_map(|cidr| cidr.parse().ok()).collect()
    }

    pub fn v6(self) -> BTreeSet<Ipv6Net> {
        self.cidrs().iter().filter_map(|cidr| cidr.parse().ok()).collect()
    }

    fn cidrs(self) -> &'static [&'static str] {
        match self {
            Self::First => &FIRST,
            Self::Second => &SECOND,
        }
    }
}

/// Returns the rule files: the database with this set, and its neighbour, active or removed.
pub fn files(set: Set, neighbour: bool, revision: u64) -> [RuleFile; 2] {
    let state = if neighbour { "active" } else { "removed" };
    [
        file(DATABASE, "active", PORT, set.cidrs(), revision),
        file(NEIGHBOUR, state, NEIGHBOUR_PORT, &["203.0.113.5/32", "2001:db8:a::5/128"], revision),
    ]
}

/// Returns the desired state of those files.
pub fn desired(set: Set, neighbour: bool, revision: u64) -> Desired {
    kernel::desired(&files(set, neighbour, revision), &[GUARDED])
}

/// Returns the database's prefixes in the kernel, by family.
pub fn prefixes(live: &Live) -> (BTreeSet<Ipv4Net>, BTreeSet<Ipv6Net>) {
    let database = live.databases.values().find(|one| one.id.as_str() == DATABASE).unwrap();
    (database.sources.v4.keys().copied().collect(), database.sources.v6.keys().copied().collect())
}

fn file(id: &str, state: &str, port: u16, cidrs: &[&str], revision: u64) -> RuleFile {
    let file = RuleFile::new(id, revision)
        .field(&format!("state: {state}"))
        .endpoint(&format!("{ADDRESS4}:{port}"))
        .endpoint(&format!("[{ADDRESS6}]:{port}"));
    cidrs.iter().fold(file, |file, cidr| file.allow(cidr))
}
