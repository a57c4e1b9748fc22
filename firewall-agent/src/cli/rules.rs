//! `firewall-agent rules [DATABASE]`: the lines that are live in the kernel.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use super::format::Format;
use super::settings::Located;
use super::table::{or_dash, write_table};
use super::{BadInput, Exit};
use crate::bpf::{Kernel, LineHits};
use crate::sync::{Database, Line, LineKind, Live, RuleSlot, Sources};

/// One line of one database. Field names are an interface.
#[derive(Debug, Serialize)]
struct RuleRow {
    database_id: String,
    /// Rule id; the CIDR of an internal range; empty for the default line.
    rule: String,
    /// `custom_range`, `managed_range`, `internal_range` or `default`.
    #[serde(rename = "type")]
    kind: &'static str,
    range_id: Option<String>,
    label: String,
    cidrs: Vec<String>,
    packets: u64,
    bytes: u64,
    last_hit: Option<jiff::Timestamp>,
}

pub(super) fn rules(
    places: &Located,
    database: Option<&str>,
    format: Format,
    out: &mut impl Write,
) -> Result<Exit> {
    let kernel = Kernel::open(&places.bpffs_dir)?;
    let live = kernel.live()?;
    if let Some(id) = database
        && !live.databases.values().any(|one| one.id.as_str() == id)
    {
        return Err(BadInput(format!("database {id}: not in the kernel")).into());
    }
    let mut rows = Vec::new();
    for (slot, one) in
        live.databases.iter().filter(|(_, one)| database.is_none_or(|id| one.id.as_str() == id))
    {
        for (line_slot, line) in lines(&live, *slot) {
            rows.push(row(one, *line_slot, line, kernel.hits(*line_slot)?));
        }
    }
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &rows)?;
            writeln!(out)?;
        }
        Format::Table => write_people(&rows, database.is_some(), out)?,
    }
    Ok(Exit::Done)
}

/// The lines of a database, in the order of their slots, the default line last.
fn lines(live: &Live, database: u32) -> Vec<(&RuleSlot, &Line)> {
    let mut lines: Vec<_> = live.lines.iter().filter(|(_, line)| line.database == database).collect();
    lines.sort_by_key(|(slot, line)| (line.kind == LineKind::Default, **slot));
    lines
}

fn row(database: &Database, slot: RuleSlot, line: &Line, hits: LineHits) -> RuleRow {
    RuleRow {
        database_id: database.id.to_string(),
        rule: line.id.clone(),
        kind: line.kind.name(),
        range_id: match &line.kind {
            LineKind::Managed(range) => Some(range.clone()),
            LineKind::Default | LineKind::Custom | LineKind::Internal => None,
        },
        label: line.label.clone(),
        cidrs: cidrs(&database.sources, slot),
        packets: hits.packets,
        bytes: hits.bytes,
        last_hit: hits.last,
    }
}

/// The prefixes that count on a line.
fn cidrs(sources: &Sources, slot: RuleSlot) -> Vec<String> {
    let v4 = sources.v4.iter().filter(|(_, line)| **line == slot).map(|(net, _)| net.to_string());
    let v6 = sources.v6.iter().filter(|(_, line)| **line == slot).map(|(net, _)| net.to_string());
    v4.chain(v6).collect()
}

fn write_people(rows: &[RuleRow], every_prefix: bool, out: &mut impl Write) -> Result<()> {
    let mut table: Vec<[String; 8]> = Vec::new();
    for row in rows {
        let cidr = match row.cidrs.as_slice() {
            [] if row.kind == "default" => "everything else".to_owned(),
            [] => "-".to_owned(),
            [one] => one.clone(),
            many if every_prefix => many[0].clone(),
            many => format!("{} (and {} more)", many[0], many.len() - 1),
        };
        table.push([
            row.database_id.clone(),
            or_dash(Some(&row.rule).filter(|rule| !rule.is_empty())),
            row.kind.to_owned(),
            cidr,
            row.packets.to_string(),
            row.bytes.to_string(),
            or_dash(row.last_hit.map(|last| format!("{last:.0}"))),
            row.label.clone(),
        ]);
        let others = if every_prefix { row.cidrs.get(1..).unwrap_or_default() } else { &[] };
        table.extend(others.iter().map(|cidr| {
            let mut line: [String; 8] = Default::default();
            line[3].clone_from(cidr);
            line
        }));
    }
    write_table(["DATABASE", "RULE", "TYPE", "CIDR", "PACKETS", "BYTES", "LAST HIT", "LABEL"], table, out)
}
