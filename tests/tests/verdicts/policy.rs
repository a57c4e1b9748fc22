//! The rule files and guarded ports of the verdict tests.

use std::ops::RangeInclusive;

use firewall_tests::lab::RuleFile;

/// Rule files, by revision, and guarded ports to put in force.
#[derive(Clone, Copy)]
pub struct Policy {
    /// In force first, then replaced by `files`.
    pub before: &'static [fn(u64) -> RuleFile],
    pub files: &'static [fn(u64) -> RuleFile],
    pub guarded: &'static [RangeInclusive<u16>],
    /// Guarded ports that are closed to new connections only.
    pub new_connections: &'static [RangeInclusive<u16>],
    /// Local blocks: id, source, and the database unless it is every one.
    pub blocks: &'static [(&'static str, &'static str, Option<&'static str>)],
}

/// Two databases at one address, a monitored one at another, and nothing closed.
pub const OPEN: Policy =
    Policy { before: &[], files: &[orders, billing, lab], guarded: &[], new_connections: &[], blocks: &[] };

/// As [`OPEN`], with the tombstones of a removed database: one at the shared address, one at its own.
pub const LEFT_BEHIND: Policy =
    Policy { before: &[leaver], files: &[orders, billing, lab, leaver_removed], ..OPEN };

/// As [`LEFT_BEHIND`], with guarded ports.
pub const GUARDED: Policy = Policy { guarded: &[5432..=5432, 30_000..=32_767], ..LEFT_BEHIND };

/// As [`LEFT_BEHIND`], with ports that are closed to new connections only, also that of the tombstones.
pub const ANSWERED: Policy = Policy {
    guarded: &[5432..=5432, 30_550..=30_550],
    new_connections: &[7432..=7432, 30_000..=32_767],
    ..LEFT_BEHIND
};

/// As [`GUARDED`], with sources blocked everywhere, at one database, and at the monitored one.
pub const BLOCKED: Policy = Policy {
    blocks: &[
        ("block:0001", "203.0.113.9/32", None),
        ("block:00016", "2001:db8:a::9/128", None),
        ("block:0002", "203.0.113.7/32", Some("orders")),
        ("block:00026", "2001:db8:a::7/128", Some("orders")),
        ("block:0003", "100.64.0.1/32", Some("lab")),
        ("block:00036", "2001:db8:bad::1/128", Some("lab")),
    ],
    ..GUARDED
};

/// A database at its own address, one at every address, and nothing closed.
pub const ANYWHERE: Policy = Policy { before: &[], files: &[orders, anywhere], ..OPEN };

fn orders(revision: u64) -> RuleFile {
    RuleFile::new("orders", revision)
        .endpoint("192.0.2.10:30092")
        .endpoint("[2001:db8:2::10]:30092")
        .allow_as("office", "203.0.113.0/24")
        .allow_as("desk", "203.0.113.7/32")
        .allow_as("office6", "2001:db8:a::/48")
        .allow_as("desk6", "2001:db8:a::7/128")
        .internal_range("10.231.23.0/24", "nodes")
}

fn billing(revision: u64) -> RuleFile {
    RuleFile::new("billing", revision)
        .endpoint("192.0.2.10:30093")
        .udp_endpoint("192.0.2.10:30093")
        .endpoint("[2001:db8:2::10]:30093")
        .udp_endpoint("[2001:db8:2::10]:30093")
        .allow_as("shop", "198.51.100.0/24")
        .allow_as("shop6", "2001:db8:b::/48")
        .allow_as("both", "203.0.113.128/25")
        .allow_as("both6", "2001:db8:a:1::/64")
}

fn lab(revision: u64) -> RuleFile {
    RuleFile::new("lab", revision).monitor().endpoint("192.0.2.20:6432").endpoint("[2001:db8:2::20]:6432")
}

fn leaver(revision: u64) -> RuleFile {
    RuleFile::new("leaver", revision)
        .endpoint("192.0.2.30:7432")
        .endpoint("192.0.2.10:7432")
        .udp_endpoint("192.0.2.10:7432")
        .endpoint("[2001:db8:2::30]:7432")
        .endpoint("[2001:db8:2::10]:7432")
        .udp_endpoint("[2001:db8:2::10]:7432")
        .allow_as("all", "0.0.0.0/0")
        .allow_as("all6", "::/0")
}

fn leaver_removed(revision: u64) -> RuleFile {
    RuleFile::new("leaver", revision).removed()
}

fn anywhere(revision: u64) -> RuleFile {
    RuleFile::new("anywhere", revision)
        .endpoint("6543")
        .allow_as("branch", "198.18.0.0/15")
        .allow_as("branch6", "2001:db8:c::/48")
}
