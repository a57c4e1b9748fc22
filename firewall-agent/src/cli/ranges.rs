//! `firewall-agent ranges [RANGE] [--hits] [--top N]`: the managed ranges that are live in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use anyhow::Result;
use ipnet::IpNet;
use serde::Serialize;

use super::count_memory::CountMemory;
use super::format::Format;
use super::hits::{PrefixHits, RuleCounters, add, by_prefix, rule_counters, write_counted_since};
use super::most_hit::{MostHit, OMITTED};
use super::settings::Located;
use super::style::Style;
use super::table::{column, first_of, or_dash, text, write_table};
use super::{BadInput, Exit};
use crate::bpf::{CounterHits, Kernel};
use crate::escape::write_json;
use crate::sync::{DatabaseSlot, Live};

/// One managed range. Field names are an interface.
#[derive(Debug, Serialize)]
struct RangeRow {
    range_id: String,
    /// Labels of its rules: each rule's own label, or else the range's name.
    labels: BTreeSet<String>,
    /// Rules that use it.
    rules: Vec<Rule>,
    /// Prefixes of all these rules together, without those that count on another rule of their database.
    cidrs: Vec<String>,
    packets: u64,
    bytes: u64,
    last_hit: Option<jiff::Timestamp>,
    /// Start of the count of its first rule; `None` when the store cannot be read.
    counted_since: Option<jiff::Timestamp>,
    /// Hits of each of `cidrs`, over all databases where it has a counter of its own.
    prefixes: Vec<PrefixHits>,
}

/// Rule that names the range.
#[derive(Debug, Serialize)]
struct Rule {
    database_id: String,
    rule: String,
}

pub(super) fn ranges(
    directories: &Located,
    range: Option<&str>,
    most: MostHit,
    style: Style,
    out: &mut impl Write,
) -> Result<Exit> {
    let kernel = Kernel::open(&directories.bpffs_dir)?;
    let live = kernel.live()?;
    let memory = CountMemory::read(&directories.state_dir, &kernel);
    let mut rules = rules(&live);
    if let Some(id) = range {
        rules.retain(|range, _| range == id);
        if rules.is_empty() {
            return Err(BadInput(format!("range {id}: no database in the kernel uses it")).into());
        }
    }
    let rows = rules.into_iter().map(|(range, rules)| row(range, &rules, (&live, &kernel, &memory)));
    let mut rows: Vec<RangeRow> = rows.collect::<Result<_>>()?;
    most.select(&mut rows, |row| Some(row.packets));
    rows.iter_mut().for_each(|row| most.select(&mut row.prefixes, |one| one.packets));
    match style.format {
        Format::Json => write_json(&rows, out)?,
        Format::Table | Format::Wide => {
            write_people(&rows, range.map(|_| most), style, out)?;
            memory.problem.iter().try_for_each(|problem| writeln!(out, "! not read: {problem}"))?;
        }
    }
    Ok(Exit::Done)
}

/// Rules of each managed range.
fn rules(live: &Live) -> BTreeMap<String, Vec<(DatabaseSlot, RuleCounters)>> {
    let mut rules: BTreeMap<String, Vec<(DatabaseSlot, RuleCounters)>> = BTreeMap::new();
    for database in live.databases.keys() {
        for rule in rule_counters(live, *database) {
            if let Some(range) = live.counters[&rule.counters[0]].kind.range() {
                rules.entry(range.to_owned()).or_default().push((*database, rule));
            }
        }
    }
    rules
}

fn row(
    range: String,
    rules: &[(DatabaseSlot, RuleCounters)],
    (live, kernel, memory): (&Live, &Kernel, &CountMemory),
) -> Result<RangeRow> {
    let (mut labels, mut named, mut total) = (BTreeSet::new(), Vec::new(), CounterHits::default());
    let mut counted_since: Option<jiff::Timestamp> = None;
    let mut prefixes: BTreeMap<IpNet, PrefixHits> = BTreeMap::new();
    for (database, rule) in rules {
        let counter = &live.counters[&rule.counters[0]];
        if !counter.label.is_empty() {
            labels.insert(counter.label.clone());
        }
        let id = &live.databases[database].id;
        named.push(Rule { database_id: id.to_string(), rule: counter.id.clone() });
        add(&mut total, rule.total(kernel)?);
        let since = memory.add_to(&mut total, id, counter);
        counted_since = counted_since.into_iter().chain(since).min();
        let of_rule = rule.prefixes(live, *database);
        for ((net, _), hits) in of_rule.iter().zip(by_prefix(kernel, &of_rule)?) {
            prefixes.entry(*net).and_modify(|sum| merge(sum, &hits)).or_insert(hits);
        }
    }
    named.sort_by(|a, b| (&a.database_id, &a.rule).cmp(&(&b.database_id, &b.rule)));
    Ok(RangeRow {
        range_id: range,
        labels,
        rules: named,
        cidrs: prefixes.keys().map(ToString::to_string).collect(),
        packets: total.packets,
        bytes: total.bytes,
        last_hit: total.last,
        counted_since,
        prefixes: prefixes.into_values().collect(),
    })
}

fn merge(sum: &mut PrefixHits, more: &PrefixHits) {
    let add = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a + b).or(a).or(b);
    sum.packets = add(sum.packets, more.packets);
    sum.bytes = add(sum.bytes, more.bytes);
    sum.last_hit = sum.last_hit.max(more.last_hit);
}

/// Writes the ranges, and of a single one the selected prefixes.
fn write_people(
    rows: &[RangeRow],
    prefixes: Option<MostHit>,
    style: Style,
    out: &mut impl Write,
) -> Result<()> {
    let table = rows.iter().map(|row| {
        let databases: BTreeSet<String> = row.rules.iter().map(|rule| rule.database_id.clone()).collect();
        let labels: Vec<&str> = row.labels.iter().map(String::as_str).collect();
        [
            row.range_id.clone(),
            row.cidrs.len().to_string(),
            row.packets.to_string(),
            row.bytes.to_string(),
            or_dash(row.last_hit.map(|at| style.time(at))),
            or_dash(row.counted_since.map(|at| style.time(at))),
            first_of(&databases.into_iter().collect::<Vec<_>>(), style),
            labels.join(", "),
        ]
    });
    let columns = [
        column("RANGE", 0),
        column("PREFIXES", 4),
        column("PACKETS", 1),
        column("BYTES", 6),
        column("LAST HIT", 2),
        column("SINCE", 7),
        column("DATABASES", 3),
        text("LABELS", 5),
    ];
    write_table(columns, table, style, out)?;
    write_counted_since(rows.iter().map(|row| row.counted_since), style, out)?;
    if let Some(most) = prefixes {
        writeln!(out)?;
        let selected = rows.iter().flat_map(|row| row.prefixes.clone()).collect::<Vec<_>>();
        let shown = most.shown(&selected, style);
        let table = shown.iter().map(|one| {
            let last_hit = one.last_hit.map(|at| style.time(at));
            [one.cidr.clone(), or_dash(one.packets), or_dash(one.bytes), or_dash(last_hit)]
        });
        let columns = [column("CIDR", 0), column("PACKETS", 1), column("BYTES", 3), column("LAST HIT", 2)];
        write_table(columns, table, style, out)?;
        if shown.len() < selected.len() {
            writeln!(out, "{OMITTED}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::snapshots::{ago, check};

    #[test]
    fn screens_of_ranges() {
        let rule = |number: u32| Rule {
            database_id: format!("6a316183d0f1f10ecbcca{number:03}"),
            rule: "fr-2".to_owned(),
        };
        let cidrs = ["198.51.100.7/32", "2001:db8:4:1234:5678:9abc:def0:7/128"].map(str::to_owned);
        let hits = |cidr: &String| PrefixHits {
            cidr: cidr.clone(),
            packets: Some(617_283),
            bytes: None,
            last_hit: Some(ago(300)),
        };
        let rows = [RangeRow {
            range_id: "man-osc-fr1-egress".to_owned(),
            labels: ["Scalingo osc-fr1 region", "egress of the northern region"].map(str::to_owned).into(),
            rules: vec![rule(1), rule(2), rule(3)],
            prefixes: cidrs.iter().map(hits).collect(),
            cidrs: cidrs.to_vec(),
            packets: 1_234_567,
            bytes: 987_654_321,
            last_hit: Some(ago(300)),
            counted_since: Some(ago(86_400 * 40)),
        }];
        check("ranges", |style, out| write_people(&rows, None, style, out));
        check("ranges-of-one", |style, out| write_people(&rows, Some(MostHit::default()), style, out));
    }
}
