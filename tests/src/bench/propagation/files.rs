//! Files as large as the promise is for, with documentation and benchmark addresses only.

use std::net::{Ipv4Addr, Ipv6Addr};

pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The source whose verdict is watched.
pub const PROBE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
/// Allowed in its place, so that every revision has as many rules.
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 67);
/// The port of the first database; each further one has the next.
pub const PORT: u16 = 30_001;

/// All of one database's rules, those that name managed ranges included.
pub const RULES: usize = 30;
/// Managed ranges of the database that is pushed, and prefixes in each.
pub const RANGES: usize = 2;
pub const PREFIXES_OF_RANGE: usize = 10;

const GENERATED_AT: &str = "2026-01-01T00:00:00Z";

pub fn database_id(database: usize) -> String {
    format!("bench-{database}")
}

/// The rule file of a database that uses these managed ranges.
pub fn rule_file(database: usize, revision: u64, ranges: &[String], probe_is_allowed: bool) -> String {
    let watched = if probe_is_allowed { PROBE } else { OTHER };
    let custom = (0..RULES - ranges.len() - 1).map(|rule| match rule % 2 {
        0 => format!("203.0.113.{}/29", 8 * rule),
        _ => format!("'2001:db8:{:x}::/48'", 0x1000 + rule),
    });
    let custom =
        custom.chain([format!("{watched}/32")]).map(|cidr| format!("type: custom_range, cidr: {cidr}"));
    let managed = ranges.iter().map(|range| format!("type: managed_range, range_id: {range}"));
    let rules = custom.chain(managed).enumerate();
    let rules: String = rules.map(|(index, rule)| format!("  - {{id: fr-{index}, {rule}}}\n")).collect();
    format!(
        "schema_version: 1\n\
         database_id: {}\n\
         revision: {revision}\n\
         generated_at: {GENERATED_AT}\n\
         endpoints:\n\
         \x20 - {{type: public-rw, address: {SERVER}, port: {}, protocol: udp}}\n\
         rules:\n\
         {rules}...\n",
        database_id(database),
        usize::from(PORT) + database,
    )
}

/// Ranges of that many prefixes each, no prefix in two of them, and the names of the ranges.
pub fn managed_ranges(ranges: usize, prefixes: usize) -> (Vec<String>, String) {
    let names: Vec<String> = (0..ranges).map(|range| format!("man-bench-{range}")).collect();
    let entries = names.iter().enumerate().map(|(range, name)| {
        let cidrs: Vec<String> = (range * prefixes..(range + 1) * prefixes).map(prefix).collect();
        format!("  - {{id: {name}, name: Benchmark, cidrs: [{}]}}\n", cidrs.join(", "))
    });
    let entries: String = entries.collect();
    let text =
        format!("schema_version: 1\nrevision: 1\ngenerated_at: {GENERATED_AT}\nranges:\n{entries}...\n");
    (names, text)
}

/// One address of the networks kept for benchmarks, of either family in turn.
fn prefix(index: usize) -> String {
    let offset = index / 2;
    if index.is_multiple_of(2) {
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 0));
        format!("{}/32", Ipv4Addr::from(first + offset as u32))
    } else {
        let first = u128::from(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0));
        format!("'{}/128'", Ipv6Addr::from(first + offset as u128))
    }
}
