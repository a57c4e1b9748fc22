//! `firewall-agent rules [DATABASE]`: the rules that are live in the kernel, and their hits.

mod mark;

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use self::mark::{Mark, mark};
use super::Exit;
use super::format::Format;
use super::hits::{PrefixHits, RuleCounters, by_prefix, rule_counters};
use super::known_databases::KnownDatabases;
use super::settings::Located;
use super::table::{or_dash, time, write_table};
use crate::bpf::Kernel;
use crate::escape::write_json;
use crate::sync::{CounterKind, DatabaseSlot, Live};

/// One rule of one database. Field names are an interface.
#[derive(Debug, Serialize)]
struct RuleRow {
    database_id: String,
    /// Rule id; the CIDR of an internal range; empty for the default counter.
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
    /// Hits of each of `cidrs`.
    prefixes: Vec<PrefixHits>,
    #[serde(flatten)]
    mark: Mark,
}

pub(super) fn rules(
    directories: &Located,
    database: Option<&str>,
    format: Format,
    out: &mut impl Write,
) -> Result<Exit> {
    let kernel = Kernel::open(&directories.bpffs_dir)?;
    let live = kernel.live()?;
    let known = KnownDatabases::live(&live);
    let wanted = database.map(|text| known.find(text)).transpose()?;
    let mut rows = Vec::new();
    for (slot, _) in live.databases.iter().filter(|(_, one)| wanted.is_none_or(|id| one.id == *id)) {
        for rule in rule_counters(&live, *slot) {
            rows.push(row(&rule, *slot, &live, &kernel)?);
        }
    }
    match format {
        Format::Json => write_json(&rows, out)?,
        Format::Table => write_people(&rows, database.is_some(), out)?,
    }
    Ok(Exit::Done)
}

fn row(rule: &RuleCounters, database: DatabaseSlot, live: &Live, kernel: &Kernel) -> Result<RuleRow> {
    let named = &live.counters[&rule.counters[0]];
    let total = rule.total(kernel)?;
    let prefixes = rule.prefixes(live, database);
    let is_default = named.kind == CounterKind::Default;
    Ok(RuleRow {
        database_id: live.databases[&database].id.to_string(),
        rule: named.id.clone(),
        kind: named.kind.name(),
        range_id: named.kind.range().map(str::to_owned),
        label: named.label.clone(),
        cidrs: prefixes.iter().map(|(net, _)| net.to_string()).collect(),
        packets: total.packets,
        bytes: total.bytes,
        last_hit: total.last,
        mark: if is_default { Mark::default() } else { mark(rule, &prefixes, total.packets, database, live) },
        prefixes: by_prefix(kernel, &prefixes)?,
    })
}

fn write_people(rows: &[RuleRow], every_prefix: bool, out: &mut impl Write) -> Result<()> {
    let mut table: Vec<[String; 9]> = Vec::new();
    for row in rows {
        let cidr = match row.cidrs.as_slice() {
            [] if row.kind == "default" => "everything else".to_owned(),
            [] => "-".to_owned(),
            [one] => one.clone(),
            many if every_prefix => format!("{} prefixes", many.len()),
            many => format!("{} (and {} more)", many[0], many.len() - 1),
        };
        table.push([
            row.database_id.clone(),
            or_dash(Some(&row.rule).filter(|rule| !rule.is_empty())),
            row.kind.to_owned(),
            cidr,
            row.packets.to_string(),
            row.bytes.to_string(),
            or_dash(row.last_hit.map(time)),
            row.mark.text(),
            row.label.clone(),
        ]);
        if every_prefix && row.prefixes.len() > 1 {
            table.extend(row.prefixes.iter().map(prefix));
        }
    }
    if every_prefix {
        let sum = |of: fn(&RuleRow) -> u64| rows.iter().map(of).sum::<u64>().to_string();
        let mut total: [String; 9] = Default::default();
        total[3] = "total".to_owned();
        (total[4], total[5]) = (sum(|row| row.packets), sum(|row| row.bytes));
        table.push(total);
    }
    let head = ["DATABASE", "RULE", "TYPE", "CIDR", "PACKETS", "BYTES", "LAST HIT", "MARK", "LABEL"];
    write_table(head, table, out)
}

fn prefix(one: &PrefixHits) -> [String; 9] {
    let mut cells: [String; 9] = Default::default();
    cells[3].clone_from(&one.cidr);
    cells[4] = or_dash(one.packets);
    cells[5] = or_dash(one.bytes);
    cells[6] = or_dash(one.last_hit.map(time));
    cells
}
