//! Report of refused sources, aggregated: of the kernel's table, or of the memory of a period.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Result;
use firewall_common::Reason;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use crate::agent::kernel_entries;
use crate::bpf::Kernel;
use crate::status::refusals::Refusal;

/// Complete output. Field names are an interface.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of the whole host; `None` where the kernel could not be read.
    pub totals: Option<Totals>,
    /// Start of the period; `None` for the kernel's table.
    pub since: Option<Timestamp>,
    /// Start of the memory; `None` before the first summary.
    pub remembers_since: Option<Timestamp>,
    /// Packets of the period from clients for which the memory had no room.
    pub left_out: u64,
    /// Parts of the memory that could not be read.
    pub skipped: Vec<String>,
    /// In descending order of packets.
    pub denied: Vec<DeniedRow>,
}

/// Coverage of the refused packets by the rows, since the creation of the maps.
#[derive(Debug, Serialize)]
pub struct Totals {
    /// Packets that were refused, or in monitor mode would have been.
    pub denied: u64,
    /// Packets that entries of the table represented when recorded.
    pub recorded: u64,
    /// Packets that no entry ever represented.
    pub unrecorded: u64,
    /// Packets of entries that have been evicted since.
    pub evicted: u64,
}

/// One client: a source, or several of one prefix, at one endpoint. Field names are an interface.
#[derive(Debug, Clone, Serialize)]
pub struct DeniedRow {
    /// An address, or a prefix if sources are aggregated; `-` if unreadable.
    pub source: String,
    /// Number of aggregated addresses.
    pub sources: usize,
    /// `None` if no database decided: a closed port, a malformed packet.
    pub database_id: Option<String>,
    /// As in the endpoint table; without a port if unknown, `-` without an address.
    pub endpoint: String,
    /// `None` where `kinds` differ in it; so are the next three.
    pub reason: Option<String>,
    pub class: Option<String>,
    pub hook: Option<&'static str>,
    pub interface: Option<String>,
    /// Most packets first.
    pub kinds: Vec<DeniedKind>,
    pub packets: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// The rule that would admit the source, in the syntax of a rule file; `None` if a rule would not help.
    pub suggestion: Option<String>,
}

/// Packets of one kind. Field names are an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DeniedKind {
    pub reason: String,
    /// `syn`, `tcp` (any other TCP packet), `udp` or `none`.
    pub class: String,
    /// `xdp` for packets refused on a filtered interface; `socket` for those that the socket filter refused, or, in its
    /// mode `monitor`, would have refused.
    pub hook: &'static str,
    /// The interface of packets at a socket: the name of its index on the host.
    pub interface: Option<String>,
    pub packets: u64,
}

/// Aggregation of refused packets.
#[derive(Debug, Clone, Copy)]
pub struct Grouping {
    /// Prefix lengths to which sources are cut, IPv4 and IPv6.
    pub lengths: (u8, u8),
    /// One row for each kind.
    pub by_kind: bool,
}

/// Key of a row: prefix, database, endpoint, and the kind where these are separate.
type Key = (Option<IpNet>, Option<String>, String, Option<DeniedKind>);

#[derive(Debug)]
struct Sum {
    sources: BTreeSet<Option<IpAddr>>,
    /// Packets by kind, which has none itself.
    kinds: BTreeMap<DeniedKind, u64>,
    first_seen: Timestamp,
    last_seen: Timestamp,
}

/// The rows of the kernel's table.
///
/// # Errors
/// When the kernel's table cannot be read.
pub fn kernel_rows(kernel: &Kernel, database: Option<&str>, grouping: Grouping) -> Result<Vec<DeniedRow>> {
    Ok(rows(kernel_entries(kernel)?.into_iter().map(Refusal::from), database, grouping))
}

/// The totals of the kernel's table.
///
/// # Errors
/// When the kernel's table cannot be read.
pub fn totals(kernel: &Kernel) -> Result<Totals> {
    let (entries, totals) = (kernel.denied()?, kernel.denied_totals()?);
    let in_table: u64 = entries.iter().map(|one| one.packets).sum();
    Ok(Totals {
        denied: totals.seen,
        recorded: totals.recorded,
        unrecorded: totals.unrecorded,
        evicted: totals.recorded.saturating_sub(in_table),
    })
}

/// Aggregates refused packets, in descending order of packets.
pub fn rows(
    refusals: impl IntoIterator<Item = Refusal>,
    database: Option<&str>,
    grouping: Grouping,
) -> Vec<DeniedRow> {
    let mut groups: BTreeMap<Key, Sum> = BTreeMap::new();
    for one in refusals {
        if database.is_some() && one.kind.database_id.as_deref() != database {
            continue;
        }
        let source = one.kind.source.map(|source| cut(source, grouping.lengths));
        let kind = DeniedKind {
            reason: one.kind.reason,
            class: one.kind.class,
            hook: if one.kind.interface.is_some() { "socket" } else { "xdp" },
            interface: one.interface_name,
            packets: 0,
        };
        let of_row = grouping.by_kind.then(|| kind.clone());
        let sum = groups.entry((source, one.kind.database_id, one.kind.endpoint, of_row));
        let sum = sum.or_insert_with(|| Sum {
            sources: BTreeSet::new(),
            kinds: BTreeMap::new(),
            first_seen: one.first_seen,
            last_seen: one.last_seen,
        });
        sum.sources.insert(one.kind.source);
        *sum.kinds.entry(kind).or_default() += one.packets;
        sum.first_seen = sum.first_seen.min(one.first_seen);
        sum.last_seen = sum.last_seen.max(one.last_seen);
    }
    let mut denied: Vec<DeniedRow> = groups.into_iter().map(|(key, sum)| row(key, sum)).collect();
    denied.sort_by(|a, b| b.packets.cmp(&a.packets).then_with(|| a.source.cmp(&b.source)));
    denied
}

fn cut(source: IpAddr, (v4, v6): (u8, u8)) -> IpNet {
    let length = if source.is_ipv4() { v4 } else { v6 };
    IpNet::new(source, length).map_or_else(|_| source.into(), |net| net.trunc())
}

fn row((net, database_id, endpoint, _): Key, sum: Sum) -> DeniedRow {
    let kinds = sum.kinds.into_iter().map(|(kind, packets)| DeniedKind { packets, ..kind });
    let mut kinds: Vec<DeniedKind> = kinds.collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.packets));
    let lacks_rule = kinds.iter().any(|kind| {
        Reason::ALL.into_iter().any(|reason| reason.lacks_rule() && reason.name() == kind.reason)
    });
    let suggestion = net.filter(|_| lacks_rule && database_id.is_some()).map(suggestion);
    DeniedRow {
        source: net.map_or_else(|| "-".to_owned(), shown),
        sources: sum.sources.len(),
        database_id,
        endpoint,
        reason: common(&kinds, |kind| Some(kind.reason.clone())),
        class: common(&kinds, |kind| Some(kind.class.clone())),
        hook: common(&kinds, |kind| Some(kind.hook)),
        interface: common(&kinds, |kind| kind.interface.clone()),
        packets: kinds.iter().map(|kind| kind.packets).sum(),
        kinds,
        first_seen: sum.first_seen,
        last_seen: sum.last_seen,
        suggestion,
    }
}

/// The value that all kinds have.
fn common<T: PartialEq>(kinds: &[DeniedKind], of: impl Fn(&DeniedKind) -> Option<T>) -> Option<T> {
    let mut values = kinds.iter().map(of);
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)?
}

impl DeniedRow {
    /// The different values of a column, most packets first.
    pub fn each(&self, of: impl Fn(&DeniedKind) -> String) -> String {
        let mut values: Vec<String> = Vec::new();
        for value in self.kinds.iter().map(of) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values.join(",")
    }
}

/// Formats a network, single addresses without a length.
fn shown(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// Item for `rules:`, with an id that no rule has by accident.
fn suggestion(net: IpNet) -> String {
    let id: String =
        net.to_string().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    // YAML misparses a plain text that starts or ends with a colon.
    let cidr = if net.addr().is_ipv6() { format!("'{net}'") } else { net.to_string() };
    format!("{{id: allow-{id}, type: custom_range, cidr: {cidr}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::refusals::RefusedKind;

    fn refusal(source: &str, reason: &str, class: &str, interface: Option<u32>, packets: u64) -> Refusal {
        let time: Timestamp = "2026-08-21T15:27:32Z".parse().unwrap();
        Refusal::new(
            RefusedKind {
                source: Some(source.parse().unwrap()),
                database_id: Some("orders".to_owned()),
                endpoint: "192.0.2.10:30092/tcp".to_owned(),
                reason: reason.to_owned(),
                class: class.to_owned(),
                interface,
            },
            interface.map(|index| format!("wg{index}")),
            packets,
            (time, time),
        )
    }

    fn shown_rows(by_kind: bool, lengths: (u8, u8)) -> Vec<(String, usize, u64, usize, Option<String>)> {
        let refusals = [
            refusal("198.51.100.9", "no_match", "syn", None, 5),
            refusal("198.51.100.9", "no_match", "tcp", None, 7),
            refusal("198.51.100.9", "no_match", "syn", Some(3), 1),
            // The same kind in another hour.
            refusal("198.51.100.9", "no_match", "syn", None, 2),
            refusal("198.51.100.10", "closed", "syn", None, 3),
        ];
        let rows = rows(refusals, Some("orders"), Grouping { lengths, by_kind });
        rows.into_iter()
            .map(|row| (row.source, row.sources, row.packets, row.kinds.len(), row.class))
            .collect()
    }

    #[test]
    fn a_client_has_one_row_unless_kinds_are_separate() {
        let one = |source: &str, sources, packets, kinds, class: Option<&str>| {
            (source.to_owned(), sources, packets, kinds, class.map(str::to_owned))
        };
        assert_eq!(
            shown_rows(false, (32, 128)),
            [one("198.51.100.9", 1, 15, 3, None), one("198.51.100.10", 1, 3, 1, Some("syn"))]
        );
        assert_eq!(
            shown_rows(true, (32, 128)),
            [
                one("198.51.100.9", 1, 7, 1, Some("syn")),
                one("198.51.100.9", 1, 7, 1, Some("tcp")),
                one("198.51.100.10", 1, 3, 1, Some("syn")),
                one("198.51.100.9", 1, 1, 1, Some("syn")),
            ]
        );
        assert_eq!(shown_rows(false, (24, 64)), [one("198.51.100.0/24", 2, 18, 4, None)]);
    }

    #[test]
    fn a_rule_is_suggested_where_one_kind_lacks_it() {
        let rows = |reason| {
            let refusals = [
                refusal("198.51.100.9", "closed", "syn", None, 5),
                refusal("198.51.100.9", reason, "tcp", None, 1),
            ];
            rows(refusals, None, Grouping { lengths: (32, 128), by_kind: false })
        };
        assert!(rows("no_match")[0].suggestion.is_some());
        assert_eq!(rows("malformed")[0].suggestion, None);
        assert_eq!(rows("of a newer agent")[0].each(|kind| kind.reason.clone()), "closed,of a newer agent");
    }
}
