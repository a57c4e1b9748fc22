//! `firewall-agent rules [DATABASE] [--hits] [--top N]`: the rules that are live in the kernel, and their hits.

mod mark;

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use self::mark::{Hits, Mark, mark};
use super::Exit;
use super::count_memory::CountMemory;
use super::format::Format;
use super::hits::{PrefixHits, RuleCounters, by_prefix, rule_counters, write_counted_since};
use super::known_databases::KnownDatabases;
use super::most_hit::{MostHit, OMITTED};
use super::settings::Located;
use super::style::Style;
use super::table::{column, or_dash, text, write_table};
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
    /// Start of the count; `None` when the store cannot be read.
    counted_since: Option<jiff::Timestamp>,
    /// Hits of each of `cidrs`, since its counter exists.
    prefixes: Vec<PrefixHits>,
    #[serde(flatten)]
    mark: Mark,
}

pub(super) fn rules(
    directories: &Located,
    database: Option<&str>,
    most: MostHit,
    style: Style,
    out: &mut impl Write,
) -> Result<Exit> {
    let kernel = Kernel::open(&directories.bpffs_dir)?;
    let live = kernel.live()?;
    let known = KnownDatabases::live(&live);
    let wanted = database.map(|text| known.find(text)).transpose()?;
    let memory = CountMemory::read(&directories.state_dir, &kernel);
    let mut rows = Vec::new();
    for (slot, _) in live.databases.iter().filter(|(_, one)| wanted.is_none_or(|id| one.id == *id)) {
        for rule in rule_counters(&live, *slot) {
            rows.push(row(&rule, *slot, (&live, &kernel, &memory), style.now)?);
        }
    }
    let total = database.map(|_| Total::of(&rows));
    most.select(&mut rows, |row| Some(row.packets));
    rows.iter_mut().for_each(|row| most.select(&mut row.prefixes, |one| one.packets));
    match style.format {
        Format::Json => write_json(&rows, out)?,
        Format::Table | Format::Wide => {
            write_people(&rows, total, most, style, out)?;
            memory.problem.iter().try_for_each(|problem| writeln!(out, "! not read: {problem}"))?;
        }
    }
    Ok(Exit::Done)
}

fn row(
    rule: &RuleCounters,
    database: DatabaseSlot,
    (live, kernel, memory): (&Live, &Kernel, &CountMemory),
    now: jiff::Timestamp,
) -> Result<RuleRow> {
    let named = &live.counters[&rule.counters[0]];
    let mut total = rule.total(kernel)?;
    let counted_since = memory.add_to(&mut total, &live.databases[&database].id, named);
    let prefixes = rule.prefixes(live, database);
    let mut by_prefix = by_prefix(kernel, &prefixes)?;
    // A single prefix that counts on the rule's own counter has all of its hits.
    if let ([one], [_]) = (by_prefix.as_mut_slice(), rule.counters.as_slice()) {
        (one.packets, one.bytes, one.last_hit) = (Some(total.packets), Some(total.bytes), total.last);
    }
    let is_default = named.kind == CounterKind::Default;
    let hits = Hits { packets: total.packets, counted_since, now };
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
        counted_since,
        mark: if is_default { Mark::default() } else { mark(rule, &prefixes, hits, database, live) },
        prefixes: by_prefix,
    })
}

/// Hits of every rule of a database.
#[derive(Debug, Clone, Copy)]
struct Total {
    packets: u64,
    bytes: u64,
}

impl Total {
    fn of(rows: &[RuleRow]) -> Self {
        let sum = |of: fn(&RuleRow) -> u64| rows.iter().map(of).sum();
        Self { packets: sum(|row| row.packets), bytes: sum(|row| row.bytes) }
    }
}

/// Writes the rules; with the total of a database, or with `--hits`, also their prefixes.
fn write_people(
    rows: &[RuleRow],
    total: Option<Total>,
    most: MostHit,
    style: Style,
    out: &mut impl Write,
) -> Result<()> {
    let has_prefixes = total.is_some() || most.hits;
    let mut is_summary = false;
    let mut table: Vec<[String; 10]> = Vec::new();
    for row in rows {
        let cidr = match row.cidrs.as_slice() {
            [] if row.kind == "default" => "everything else".to_owned(),
            [] => "-".to_owned(),
            [one] => one.clone(),
            many if has_prefixes => format!("{} prefixes", many.len()),
            many => format!("{} (and {} more)", many[0], many.len() - 1),
        };
        table.push([
            row.database_id.clone(),
            or_dash(Some(&row.rule).filter(|rule| !rule.is_empty())),
            row.kind.to_owned(),
            cidr,
            row.packets.to_string(),
            row.bytes.to_string(),
            or_dash(row.last_hit.map(|at| style.time(at))),
            or_dash(row.counted_since.map(|at| style.time(at))),
            row.mark.text(),
            row.label.clone(),
        ]);
        if has_prefixes && row.cidrs.len() > 1 {
            let shown = most.shown(&row.prefixes, style);
            table.extend(shown.iter().map(|one| prefix(one, style)));
            is_summary |= shown.len() < row.prefixes.len();
        }
    }
    if let Some(Total { packets, bytes }) = total {
        let mut total: [String; 10] = Default::default();
        total[3] = "total".to_owned();
        (total[4], total[5]) = (packets.to_string(), bytes.to_string());
        table.push(total);
    }
    let columns = [
        column("DATABASE", if total.is_some() { 8 } else { 0 }),
        column("RULE", 0),
        column("TYPE", 6),
        column("CIDR", 1),
        column("PACKETS", 2),
        column("BYTES", 7),
        column("LAST HIT", 3),
        column("SINCE", 9),
        column("MARK", 4),
        text("LABEL", 5),
    ];
    write_table(columns, table, style, out)?;
    if is_summary {
        writeln!(out, "{OMITTED}")?;
    }
    write_counted_since(rows.iter().map(|row| row.counted_since), style, out)
}

fn prefix(one: &PrefixHits, style: Style) -> [String; 10] {
    let mut cells: [String; 10] = Default::default();
    cells[3].clone_from(&one.cidr);
    cells[4] = or_dash(one.packets);
    cells[5] = or_dash(one.bytes);
    cells[6] = or_dash(one.last_hit.map(|at| style.time(at)));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::snapshots::{ago, check};

    fn rule(rule: &str, kind: &'static str, label: &str, cidrs: &[&str]) -> RuleRow {
        let hits = |cidr: &&str| PrefixHits {
            cidr: (*cidr).to_owned(),
            packets: Some(1_234_567),
            bytes: Some(987_654_321),
            last_hit: Some(ago(7_200)),
        };
        RuleRow {
            database_id: "6a316183d0f1f10ecbcca123".to_owned(),
            rule: rule.to_owned(),
            kind,
            range_id: None,
            label: label.to_owned(),
            cidrs: cidrs.iter().map(|cidr| (*cidr).to_owned()).collect(),
            packets: 1_234_567,
            bytes: 987_654_321,
            last_hit: (kind != "default").then(|| ago(300)),
            counted_since: Some(ago(if rule == "fr-2" { 7_200 } else { 86_400 * 40 })),
            prefixes: cidrs.iter().map(hits).collect(),
            mark: if rule == "fr-1" { Mark::covered_by("fr-2") } else { Mark::default() },
        }
    }

    #[test]
    fn screens_of_rules() {
        let rows = [
            rule("fr-1", "custom_range", "Office network of the northern region", &["203.0.113.0/24"]),
            rule(
                "fr-2",
                "managed_range",
                "Example region",
                &["198.51.100.7/32", "2001:db8:4:1234:5678:9abc:def0:7/128"],
            ),
            rule("10.231.23.0/24", "internal_range", "cluster nodes", &["10.231.23.0/24"]),
            rule("", "default", "", &[]),
        ];
        let (all, total) = (MostHit::default(), Some(Total::of(&rows)));
        check("rules", |style, out| write_people(&rows, None, all, style, out));
        check("rules-of-a-database", |style, out| write_people(&rows, total, all, style, out));
        let cidrs: Vec<String> = (1..=500).map(|at| format!("2001:db8:{at:x}::/48")).collect();
        let cidrs: Vec<&str> = cidrs.iter().map(String::as_str).collect();
        let mut many = rule("fr-2", "managed_range", "Example region", &cidrs);
        for (at, one) in many.prefixes.iter_mut().enumerate() {
            one.packets = (at % 50 == 0).then_some(u64::try_from(at).unwrap());
        }
        let rows = [many];
        let total = Some(Total::of(&rows));
        check("rules-summary", |style, out| write_people(&rows, total, all, style, out));
    }
}
