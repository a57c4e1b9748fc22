//! Policies that together reach every row of the verdict table.

use std::net::IpAddr;

use firewall_tests::packets::protocol::{TCP, UDP};

use crate::policy::{Database, Endpoint, Owner, Policy};

/// Returns names and policies; no endpoint of one database covers one of another.
pub fn policies() -> Vec<(&'static str, Policy)> {
    vec![
        ("two databases on one address, nothing guarded", two_on_one_address()),
        ("guarded ports and tombstones", guarded()),
        ("ports closed to new connections only, and tombstones", answered()),
        ("endpoints without an address", wildcards()),
        ("monitor mode beside enforcement", monitored()),
        ("whole address space allowed", open_to_all()),
        ("ten databases on one address", ten_on_one_address()),
        ("blocked sources", blocked(two_on_one_address())),
        ("blocked sources beside guarded ports", blocked(guarded())),
        ("blocked sources in monitor mode", blocked(monitored())),
        ("blocked sources, ten databases", blocked(ten_on_one_address())),
    ]
}

pub fn two_on_one_address() -> Policy {
    Policy {
        endpoints: vec![
            at("192.0.2.10", 30_092, TCP, 0),
            at("192.0.2.10", 30_093, TCP, 1),
            at("192.0.2.10", 30_093, UDP, 1),
            at("2001:db8:2::10", 30_092, TCP, 0),
            at("2001:db8:2::10", 30_093, TCP, 1),
            at("192.0.2.11", 5_432, TCP, 2),
        ],
        databases: vec![
            database(&[("203.0.113.0/24", 1), ("203.0.113.128/25", 2), ("2001:db8:a::/48", 3)]),
            database(&[("203.0.113.64/26", 4), ("198.51.100.7/32", 5), ("2001:db8:a:1::/64", 6)]),
            database(&[]),
        ],
        ..Policy::default()
    }
}

pub fn guarded() -> Policy {
    Policy {
        endpoints: vec![
            at("192.0.2.10", 30_092, TCP, 0),
            closed("192.0.2.10", 30_200, TCP),
            closed("192.0.2.12", 80, UDP),
            closed("2001:db8:2::12", 80, TCP),
            at("2001:db8:2::10", 30_092, TCP, 0),
            at("2001:db8:2::10", 30_092, UDP, 1),
            at("198.51.100.1", 443, TCP, 1),
        ],
        databases: vec![
            database(&[("203.0.113.0/24", 10), ("2001:db8:a::/48", 11)]),
            database(&[("203.0.113.0/25", 12), ("2001:db8:a::/64", 13)]),
        ],
        guarded: vec![5_432..=5_432, 30_000..=32_767],
        ..Policy::default()
    }
}

/// As [`guarded`], with the range closed to new connections only, except for a part.
pub fn answered() -> Policy {
    Policy {
        guarded: vec![5_432..=5_432, 30_190..=30_199],
        new_connections: vec![80..=80, 30_000..=30_189, 30_200..=32_767],
        ..guarded()
    }
}

fn wildcards() -> Policy {
    Policy {
        endpoints: vec![
            everywhere(5_432, TCP, Owner::Database(0)),
            everywhere(5_432, UDP, Owner::Database(0)),
            everywhere(6_432, TCP, Owner::Closed),
            at("192.0.2.10", 30_092, TCP, 1),
            at("2001:db8:2::10", 30_092, TCP, 1),
        ],
        databases: vec![
            database(&[("203.0.113.0/24", 20), ("2001:db8:a::/48", 21)]),
            database(&[("203.0.113.0/24", 22), ("198.51.100.0/24", 23), ("2001:db8:b::/48", 24)]),
        ],
        ..Policy::default()
    }
}

pub fn monitored() -> Policy {
    let monitored = |allow| Database { monitor: true, ..database(allow) };
    Policy {
        endpoints: vec![
            at("192.0.2.10", 30_092, TCP, 0),
            at("192.0.2.10", 30_093, TCP, 1),
            at("192.0.2.11", 30_093, UDP, 0),
            everywhere(5_432, TCP, Owner::Database(0)),
            everywhere(5_432, UDP, Owner::Database(0)),
            at("2001:db8:2::10", 30_093, TCP, 1),
        ],
        databases: vec![
            monitored(&[("203.0.113.0/24", 30), ("2001:db8:a::/48", 31)]),
            database(&[("203.0.113.0/26", 32), ("198.51.100.0/24", 33), ("2001:db8:b::/48", 34)]),
        ],
        guarded: vec![5_432..=5_432],
        ..Policy::default()
    }
}

fn open_to_all() -> Policy {
    Policy {
        endpoints: vec![
            at("192.0.2.10", 30_092, TCP, 0),
            at("2001:db8:2::10", 30_092, TCP, 1),
            at("192.0.2.11", 30_092, TCP, 1),
            at("2001:db8:2::11", 30_092, TCP, 0),
        ],
        databases: vec![database(&[("0.0.0.0/0", 40), ("203.0.113.5/32", 41)]), database(&[("::/0", 42)])],
        ..Policy::default()
    }
}

/// Each database allows its own network, and all allow one common source.
fn ten_on_one_address() -> Policy {
    let endpoints = (0..10).flat_map(|number: u16| {
        let (port, database) = (30_000 + number, usize::from(number));
        [at("192.0.2.10", port, TCP, database), at("2001:db8:2::10", port, TCP, database)]
    });
    let databases = (0..10).map(|number| {
        let (own, own6) = (format!("203.0.113.{}/28", 16 * number), format!("2001:db8:a:{number}::/64"));
        let first = 50 + 4 * number;
        database(&[
            (&own, first),
            (&own6, first + 1),
            ("198.51.100.7/32", first + 2),
            ("2001:db8:c::7/128", first + 3),
        ])
    });
    Policy { endpoints: endpoints.collect(), databases: databases.collect(), ..Policy::default() }
}

/// Blocks part of the allowed and of the other sources: everywhere, at one database, and at both by nested networks.
pub fn blocked(policy: Policy) -> Policy {
    let blocked = [
        ("203.0.113.0/28", None),
        ("203.0.113.8/32", Some(1)),
        ("203.0.113.64/27", Some(0)),
        ("203.0.113.72/29", Some(1)),
        ("198.51.100.0/25", Some(1)),
        ("192.0.2.0/24", None),
        ("2001:db8:a::/64", Some(0)),
        ("2001:db8:a:1::/80", None),
        ("2001:db8:c::7/128", Some(1)),
        ("2001:db8:b::/56", None),
    ];
    let blocked = blocked.map(|(network, at)| (network.parse().unwrap(), at));
    Policy { blocked: blocked.into(), ..policy }
}

fn at(address: &str, port: u16, protocol: u8, database: usize) -> Endpoint {
    Endpoint { address: Some(parsed(address)), port, protocol, owner: Owner::Database(database) }
}

fn closed(address: &str, port: u16, protocol: u8) -> Endpoint {
    Endpoint { address: Some(parsed(address)), port, protocol, owner: Owner::Closed }
}

fn everywhere(port: u16, protocol: u8, owner: Owner) -> Endpoint {
    Endpoint { address: None, port, protocol, owner }
}

fn database(allow: &[(&str, u32)]) -> Database {
    let allow = allow.iter().map(|(network, rule)| (network.parse().unwrap(), *rule)).collect();
    Database { allow, monitor: false }
}

fn parsed(address: &str) -> IpAddr {
    address.parse().unwrap()
}
