//! The kernel's table of refused sources in words, added up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Result;
use firewall_common::Reason;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use crate::bpf::{Denied, Kernel, Sighting};
use crate::sync::{Destination, Live};

/// Everything that the command says. Field names are an interface.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of the whole host.
    pub totals: Totals,
    /// Those with most packets first.
    pub denied: Vec<DeniedRow>,
}

/// How much of what was refused the rows can stand for, since the maps were made.
#[derive(Debug, Serialize)]
pub struct Totals {
    /// Packets that were refused, or in monitor mode would have been.
    pub refused: u64,
    /// Those that an entry of the table stood for when it was written.
    pub recorded: u64,
    /// Those that no entry ever stood for.
    pub lost: u64,
    /// Those whose entry has made room for another one since.
    pub forgotten: u64,
}

/// One source, or several of one prefix, at one endpoint. Field names are an interface.
#[derive(Debug, Clone, Serialize)]
pub struct DeniedRow {
    /// An address, or a prefix when sources are added up; `-` when it could not be read.
    pub source: String,
    /// How many addresses are added up here.
    pub sources: usize,
    /// `None` when no database decided: a closed port, a broken packet.
    pub database_id: Option<String>,
    /// As in the endpoint table; without a port when it is not known, `-` without an address.
    pub endpoint: String,
    pub reason: &'static str,
    /// `syn`, `tcp` (any other TCP packet), `udp` or `none`.
    pub class: &'static str,
    pub packets: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// The rule that would admit the source, as a rule file writes it; `None` when a rule would not help.
    pub suggestion: Option<String>,
}

/// What the rows are told apart by.
type Key = (Option<IpNet>, Sighting);

/// Reads the table; sources are cut to prefixes of these lengths, IPv4 and IPv6.
///
/// # Errors
/// When the kernel's table cannot be read.
pub fn report(kernel: &Kernel, live: &Live, database: Option<&str>, lengths: (u8, u8)) -> Result<Report> {
    let (table, totals) = (kernel.denied()?, kernel.denied_totals()?);
    let held: u64 = table.iter().map(|one| one.packets).sum();
    let mut groups: BTreeMap<Key, (Denied, BTreeSet<Option<IpAddr>>)> = BTreeMap::new();
    for one in table {
        let source = one.what.source.map(|source| cut(source, lengths));
        let what = Sighting { source: None, ..one.what };
        let (sum, sources) =
            groups.entry((source, what)).or_insert_with(|| (Denied { packets: 0, ..one }, BTreeSet::new()));
        sum.packets += one.packets;
        sum.first_seen = sum.first_seen.min(one.first_seen);
        sum.last_seen = sum.last_seen.max(one.last_seen);
        sources.insert(one.what.source);
    }
    let rows = groups.into_iter().map(|((net, _), (sum, sources))| row(net, &sum, sources.len(), live));
    let mut denied: Vec<DeniedRow> =
        rows.filter(|row| database.is_none() || row.database_id.as_deref() == database).collect();
    denied.sort_by(|a, b| b.packets.cmp(&a.packets).then_with(|| a.source.cmp(&b.source)));
    let totals = Totals {
        refused: totals.seen,
        recorded: totals.booked,
        lost: totals.lost,
        forgotten: totals.booked.saturating_sub(held),
    };
    Ok(Report { totals, denied })
}

fn cut(source: IpAddr, (v4, v6): (u8, u8)) -> IpNet {
    let length = if source.is_ipv4() { v4 } else { v6 };
    IpNet::new(source, length).map_or_else(|_| source.into(), |net| net.trunc())
}

fn row(net: Option<IpNet>, sum: &Denied, sources: usize, live: &Live) -> DeniedRow {
    let line = live.lines.get(&sum.what.line);
    let database = line.and_then(|line| live.databases.get(&line.database));
    let by_rule = matches!(sum.what.reason, Reason::NoMatch | Reason::WouldDeny | Reason::Fragment);
    DeniedRow {
        source: net.map_or_else(|| "-".to_owned(), shown),
        sources,
        database_id: database.map(|database| database.id.to_string()),
        endpoint: endpoint(&sum.what),
        reason: sum.what.reason.name(),
        class: sum.what.class.name(),
        packets: sum.packets,
        first_seen: sum.first_seen,
        last_seen: sum.last_seen,
        suggestion: net.filter(|_| by_rule && database.is_some()).map(suggestion),
    }
}

/// A single address without its length.
fn shown(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

fn endpoint(what: &Sighting) -> String {
    match (what.destination, what.protocol) {
        (None, _) => "-".to_owned(),
        (Some(address), Some(protocol)) => {
            Destination { address: Some(address), port: what.port, protocol }.to_string()
        }
        (Some(address), None) => address.to_string(),
    }
}

/// A line for `rules:`, with an id that no rule has by accident.
fn suggestion(net: IpNet) -> String {
    let id: String =
        net.to_string().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    // YAML takes a text that ends or starts with a colon for something else.
    let cidr = if net.addr().is_ipv6() { format!("'{net}'") } else { net.to_string() };
    format!("{{id: allow-{id}, type: custom_range, cidr: {cidr}}}")
}
