//! Report of the kernel's table of refused sources, aggregated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use crate::bpf::{Denied, DeniedFlow, Hook, Kernel};
use crate::host::interface_names::InterfaceNames;
use crate::sync::{Destination, Live};

/// Complete output. Field names are an interface.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of the whole host.
    pub totals: Totals,
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

/// One source, or several of one prefix, at one endpoint. Field names are an interface.
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
    pub reason: &'static str,
    /// `syn`, `tcp` (any other TCP packet), `udp` or `none`.
    pub class: &'static str,
    /// `xdp` for packets refused on a filtered interface; `socket` for those that the socket filter refused, or, in its
    /// mode `monitor`, would have refused.
    pub hook: &'static str,
    /// The interface of packets at a socket: the name of its index on the host.
    pub interface: Option<String>,
    pub packets: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// The rule that would admit the source, in the syntax of a rule file; `None` if a rule would not help.
    pub suggestion: Option<String>,
}

/// Key of a row.
type Key = (Option<IpNet>, DeniedFlow);

/// Reads the table; cuts sources to prefixes of these lengths, IPv4 and IPv6.
///
/// # Errors
/// When the kernel's table cannot be read.
pub fn report(kernel: &Kernel, live: &Live, database: Option<&str>, lengths: (u8, u8)) -> Result<Report> {
    let (table, totals) = (kernel.denied()?, kernel.denied_totals()?);
    let in_table: u64 = table.iter().map(|one| one.packets).sum();
    let mut groups: BTreeMap<Key, (Denied, BTreeSet<Option<IpAddr>>)> = BTreeMap::new();
    for one in table {
        let source = one.what.source.map(|source| cut(source, lengths));
        let what = DeniedFlow { source: None, ..one.what };
        let (sum, sources) =
            groups.entry((source, what)).or_insert_with(|| (Denied { packets: 0, ..one }, BTreeSet::new()));
        sum.packets += one.packets;
        sum.first_seen = sum.first_seen.min(one.first_seen);
        sum.last_seen = sum.last_seen.max(one.last_seen);
        sources.insert(one.what.source);
    }
    let names = InterfaceNames::read();
    let rows =
        groups.into_iter().map(|((net, _), (sum, sources))| row(net, &sum, sources.len(), live, &names));
    let mut denied: Vec<DeniedRow> =
        rows.filter(|row| database.is_none() || row.database_id.as_deref() == database).collect();
    denied.sort_by(|a, b| b.packets.cmp(&a.packets).then_with(|| a.source.cmp(&b.source)));
    let totals = Totals {
        denied: totals.seen,
        recorded: totals.recorded,
        unrecorded: totals.unrecorded,
        evicted: totals.recorded.saturating_sub(in_table),
    };
    Ok(Report { totals, denied })
}

fn cut(source: IpAddr, (v4, v6): (u8, u8)) -> IpNet {
    let length = if source.is_ipv4() { v4 } else { v6 };
    IpNet::new(source, length).map_or_else(|_| source.into(), |net| net.trunc())
}

fn row(net: Option<IpNet>, sum: &Denied, sources: usize, live: &Live, names: &InterfaceNames) -> DeniedRow {
    let named = live.counters.get(&sum.what.counter);
    let database = named.and_then(|named| live.databases.get(&named.database));
    DeniedRow {
        source: net.map_or_else(|| "-".to_owned(), shown),
        sources,
        database_id: database.map(|database| database.id.to_string()),
        endpoint: endpoint(&sum.what),
        reason: sum.what.reason.name(),
        class: sum.what.class.name(),
        hook: match sum.what.hook {
            Hook::Xdp => "xdp",
            Hook::Socket(_) => "socket",
        },
        interface: match sum.what.hook {
            Hook::Xdp => None,
            Hook::Socket(index) => Some(names.name(index)),
        },
        packets: sum.packets,
        first_seen: sum.first_seen,
        last_seen: sum.last_seen,
        suggestion: net.filter(|_| sum.what.reason.lacks_rule() && database.is_some()).map(suggestion),
    }
}

/// Formats a network, single addresses without a length.
fn shown(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

fn endpoint(what: &DeniedFlow) -> String {
    match (what.destination, what.protocol) {
        (None, _) => "-".to_owned(),
        (Some(address), Some(protocol)) => {
            Destination { address: Some(address), port: what.port, protocol }.to_string()
        }
        (Some(address), None) => address.to_string(),
    }
}

/// Item for `rules:`, with an id that no rule has by accident.
fn suggestion(net: IpNet) -> String {
    let id: String =
        net.to_string().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    // YAML misparses a plain text that starts or ends with a colon.
    let cidr = if net.addr().is_ipv6() { format!("'{net}'") } else { net.to_string() };
    format!("{{id: allow-{id}, type: custom_range, cidr: {cidr}}}")
}
