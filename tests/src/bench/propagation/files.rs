//! Files of the size that the propagation target covers; all addresses are reserved for documentation or benchmarks.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::lab::{RangesFile, RuleFile};

pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The source that the probes come from.
pub const PROBE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
/// Allowed while [`PROBE`] is not, so that every revision has the same number of rules.
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 67);
/// The port of the first database; each further one has the next.
pub const PORT: u16 = 30_001;

/// Rules per database, including those that name managed ranges.
pub const RULES: usize = 30;
/// Managed ranges of the pushed database, and prefixes in each.
pub const RANGES: usize = 2;
pub const PREFIXES_OF_RANGE: usize = 10;

pub fn database_id(database: usize) -> String {
    format!("bench-{database}")
}

/// Returns the rule file of a database that uses these managed ranges.
pub fn rule_file(database: usize, revision: u64, ranges: &[String], probe_is_allowed: bool) -> RuleFile {
    let watched = if probe_is_allowed { PROBE } else { OTHER };
    let custom = (0..RULES - ranges.len() - 1).map(|rule| match rule % 2 {
        0 => format!("203.0.113.{}/29", 8 * rule),
        _ => format!("2001:db8:{:x}::/48", 0x1000 + rule),
    });
    let port = usize::from(PORT) + database;
    let file = RuleFile::new(&database_id(database), revision).udp_endpoint(&format!("{SERVER}:{port}"));
    let file = custom.chain([format!("{watched}/32")]).fold(file, |file, cidr| file.allow(&cidr));
    ranges
        .iter()
        .fold(file, |file, range| file.rule(&format!("id: {range}, type: managed_range, range_id: {range}")))
}

/// Returns `ranges` disjoint ranges of `prefixes` prefixes each: their names and the file.
pub fn managed_ranges(ranges: usize, prefixes: usize) -> (Vec<String>, RangesFile) {
    let names: Vec<String> = (0..ranges).map(|range| format!("man-bench-{range}")).collect();
    let file = names.iter().enumerate().fold(RangesFile::new(1), |file, (range, name)| {
        let cidrs: Vec<String> = (range * prefixes..(range + 1) * prefixes).map(prefix).collect();
        file.range(name, &cidrs)
    });
    (names, file)
}

/// Returns an address of the benchmarking networks, IPv4 and IPv6 in turn.
fn prefix(index: usize) -> String {
    let offset = index / 2;
    if index.is_multiple_of(2) {
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 0));
        format!("{}/32", Ipv4Addr::from(first + offset as u32))
    } else {
        let first = u128::from(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0));
        format!("{}/128", Ipv6Addr::from(first + offset as u128))
    }
}
