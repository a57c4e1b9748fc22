//! `firewall-agent ranges [RANGE]`: the managed ranges that are live in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use anyhow::Result;
use ipnet::IpNet;
use serde::Serialize;

use super::format::Format;
use super::settings::Located;
use super::table::{or_dash, write_table};
use super::{BadInput, Exit};
use crate::bpf::Kernel;
use crate::sync::{LineKind, Live, RuleSlot, Slot};

/// One managed range. Field names are an interface.
#[derive(Debug, Serialize)]
struct RangeRow {
    range_id: String,
    /// What its rules are labelled: each rule's own label, or else the range's name.
    labels: BTreeSet<String>,
    /// The rules that it is in force for.
    rules: Vec<Rule>,
    /// Of all these rules together; a prefix that counts on another rule of its database is not among them.
    cidrs: Vec<String>,
    packets: u64,
    bytes: u64,
    last_hit: Option<jiff::Timestamp>,
}

/// A rule that names the range.
#[derive(Debug, Serialize)]
struct Rule {
    database_id: String,
    rule: String,
}

pub(super) fn ranges(
    places: &Located,
    range: Option<&str>,
    format: Format,
    out: &mut impl Write,
) -> Result<Exit> {
    let kernel = Kernel::open(&places.bpffs_dir)?;
    let live = kernel.live()?;
    let mut lines = lines(&live);
    if let Some(id) = range {
        lines.retain(|range, _| *range == id);
        if lines.is_empty() {
            return Err(BadInput(format!("range {id}: no database in the kernel uses it")).into());
        }
    }
    let rows = lines.into_iter().map(|(range, lines)| row(range, &lines, &live, &kernel));
    let rows: Vec<RangeRow> = rows.collect::<Result<_>>()?;
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &rows)?;
            writeln!(out)?;
        }
        Format::Table => write_people(&rows, range.is_some(), out)?,
    }
    Ok(Exit::Done)
}

/// The lines of each managed range.
fn lines(live: &Live) -> BTreeMap<&str, Vec<RuleSlot>> {
    let mut lines: BTreeMap<&str, Vec<RuleSlot>> = BTreeMap::new();
    for (slot, line) in &live.lines {
        if let LineKind::Managed(range) = &line.kind
            && live.databases.contains_key(&line.database)
        {
            lines.entry(range).or_default().push(*slot);
        }
    }
    lines
}

fn row(range: &str, lines: &[RuleSlot], live: &Live, kernel: &Kernel) -> Result<RangeRow> {
    let mut row = RangeRow {
        range_id: range.to_owned(),
        labels: BTreeSet::new(),
        rules: Vec::new(),
        cidrs: Vec::new(),
        packets: 0,
        bytes: 0,
        last_hit: None,
    };
    let mut cidrs = BTreeSet::new();
    for slot in lines {
        let line = &live.lines[slot];
        cidrs.extend(prefixes(live, line.database, *slot));
        if !line.label.is_empty() {
            row.labels.insert(line.label.clone());
        }
        let database_id = live.databases[&line.database].id.to_string();
        row.rules.push(Rule { database_id, rule: line.id.clone() });
        let hits = kernel.hits(*slot)?;
        row.packets += hits.packets;
        row.bytes += hits.bytes;
        row.last_hit = row.last_hit.max(hits.last);
    }
    row.rules.sort_by(|a, b| (&a.database_id, &a.rule).cmp(&(&b.database_id, &b.rule)));
    row.cidrs = cidrs.iter().map(ToString::to_string).collect();
    Ok(row)
}

/// The prefixes of a database that count on this line.
fn prefixes(live: &Live, database: Slot, line: RuleSlot) -> impl Iterator<Item = IpNet> {
    let sources = &live.databases[&database].sources;
    let v4 = sources.v4.iter().map(|(net, counted)| (IpNet::V4(*net), *counted));
    let v6 = sources.v6.iter().map(|(net, counted)| (IpNet::V6(*net), *counted));
    v4.chain(v6).filter(move |(_, counted)| *counted == line).map(|(net, _)| net)
}

fn write_people(rows: &[RangeRow], every_prefix: bool, out: &mut impl Write) -> Result<()> {
    let table = rows.iter().map(|row| {
        let databases: BTreeSet<&str> = row.rules.iter().map(|rule| rule.database_id.as_str()).collect();
        let labels: Vec<&str> = row.labels.iter().map(String::as_str).collect();
        [
            row.range_id.clone(),
            row.cidrs.len().to_string(),
            row.packets.to_string(),
            row.bytes.to_string(),
            or_dash(row.last_hit.map(|last| format!("{last:.0}"))),
            databases.into_iter().collect::<Vec<_>>().join(", "),
            labels.join(", "),
        ]
    });
    write_table(["RANGE", "PREFIXES", "PACKETS", "BYTES", "LAST HIT", "DATABASES", "LABELS"], table, out)?;
    if every_prefix {
        writeln!(out)?;
        rows.iter().flat_map(|row| &row.cidrs).try_for_each(|cidr| writeln!(out, "{cidr}"))?;
    }
    Ok(())
}
