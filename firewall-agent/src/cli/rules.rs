//! `firewall-agent rules [DATABASE]`: the rules that are live in the kernel, and their hits.

mod mark;

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use self::mark::{Mark, mark};
use super::format::Format;
use super::hits::{PrefixHits, RuleCounters, by_prefix, rule_counters};
use super::settings::Located;
use super::table::{or_dash, time, write_table};
use super::{BadInput, Exit};
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
    for (slot, _) in live.databases.iter().filter(|(_, one)| database.is_none_or(|id| one.id.as_str() == id))
    {
        for lines in rule_counters(&live, *slot) {
            rows.push(row(&lines, *slot, &live, &kernel)?);
        }
    }
    match format {
        Format::Json => write_json(&rows, out)?,
        Format::Table => write_people(&rows, database.is_some(), out)?,
    }
    Ok(Exit::Done)
}

fn row(lines: &RuleCounters, database: DatabaseSlot, live: &Live, kernel: &Kernel) -> Result<RuleRow> {
    let line = &live.counters[&lines.counters[0]];
    let total = lines.total(kernel)?;
    let prefixes = lines.prefixes(live, database);
    let is_default = line.kind == CounterKind::Default;
    Ok(RuleRow {
        database_id: live.databases[&database].id.to_string(),
        rule: line.id.clone(),
        kind: line.kind.name(),
        range_id: line.kind.range().map(str::to_owned),
        label: line.label.clone(),
        cidrs: prefixes.iter().map(|(net, _)| net.to_string()).collect(),
        packets: total.packets,
        bytes: total.bytes,
        last_hit: total.last,
        mark: if is_default {
            Mark::default()
        } else {
            mark(lines, &prefixes, total.packets, database, live)
        },
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
            row.mark.words(),
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
    let mut line: [String; 9] = Default::default();
    line[3].clone_from(&one.cidr);
    line[4] = or_dash(one.packets);
    line[5] = or_dash(one.bytes);
    line[6] = or_dash(one.last_hit.map(time));
    line
}
