//! `firewall-agent blocked [RANGE]`: the blocked ranges in force.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use super::format::Format;
use super::settings::Located;
use super::style::Style;
use super::table::{column, or_dash, text, write_table};
use super::{BadInput, Exit};
use crate::bpf::Kernel;
use crate::escape::write_json;
use crate::sync::{BlockListKind, Live};

/// One blocked range. Field names are an interface.
#[derive(Debug, Serialize)]
struct BlockedRow {
    range_id: String,
    name: String,
    prefixes: usize,
    /// `None` for a range without a counter of its own.
    packets: Option<u64>,
    bytes: Option<u64>,
    last_hit: Option<Timestamp>,
    /// Only where one range is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    cidrs: Option<Vec<String>>,
}

pub(super) fn blocked(
    directories: &Located,
    range: Option<&str>,
    style: Style,
    out: &mut impl Write,
) -> Result<Exit> {
    let kernel = Kernel::open(&directories.bpffs_dir)?;
    let live = kernel.live()?;
    let mut nets: BTreeMap<&str, Vec<IpNet>> = BTreeMap::new();
    for (source, id) in &*live.blocks.ranges.sources {
        nets.entry(id).or_default().push(source.net);
    }
    if let Some(range) = range {
        if !nets.contains_key(range) {
            return Err(BadInput(format!("range {range:?}: not among the blocked ranges in force")).into());
        }
        nets.retain(|id, _| *id == range);
    }
    let rows = nets.iter().map(|(id, nets)| row(id, nets, range.is_some(), &kernel, &live));
    let rows: Vec<BlockedRow> = rows.collect::<Result<_>>()?;
    match style.format {
        Format::Json => write_json(&rows, out)?,
        Format::Table | Format::Wide if rows.is_empty() => writeln!(out, "no range is blocked")?,
        Format::Table | Format::Wide => write_people(&rows, style, out)?,
    }
    Ok(Exit::Done)
}

fn row(id: &str, nets: &[IpNet], shows_nets: bool, kernel: &Kernel, live: &Live) -> Result<BlockedRow> {
    let kind = BlockListKind::Ranges.counter_kind();
    let counter = live.counters.iter().find(|(_, rule)| rule.kind == kind && rule.id == id);
    let hits = counter.map(|(counter, _)| kernel.hits(*counter)).transpose()?;
    Ok(BlockedRow {
        range_id: id.to_owned(),
        name: counter.map(|(_, rule)| rule.label.clone()).unwrap_or_default(),
        prefixes: nets.len(),
        packets: hits.map(|hits| hits.packets),
        bytes: hits.map(|hits| hits.bytes),
        last_hit: hits.and_then(|hits| hits.last),
        cidrs: shows_nets.then(|| nets.iter().map(IpNet::to_string).collect()),
    })
}

fn write_people(rows: &[BlockedRow], style: Style, out: &mut impl Write) -> Result<()> {
    let columns = [
        column("RANGE", 0),
        text("NAME", 3),
        column("PREFIXES", 1),
        column("PACKETS", 2),
        column("LAST HIT", 4),
    ];
    let cells = rows.iter().map(|one| {
        [
            one.range_id.clone(),
            one.name.clone(),
            one.prefixes.to_string(),
            or_dash(one.packets.as_ref()),
            one.last_hit.map_or_else(|| "-".to_owned(), |at| style.time(at)),
        ]
    });
    write_table(columns, cells, style, out)?;
    for cidr in rows.iter().flat_map(|one| one.cidrs.iter().flatten()) {
        writeln!(out, "  {cidr}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::snapshots::{ago, check};

    #[test]
    fn screens_of_blocked() {
        let rows = [BlockedRow {
            range_id: "abuse-2026-11".to_owned(),
            name: "Sources of the attack of November".to_owned(),
            prefixes: 12_345,
            packets: Some(9_876_543),
            bytes: Some(987_654_321),
            last_hit: Some(ago(3)),
            cidrs: None,
        }];
        check("blocked", |style, out| write_people(&rows, style, out));
    }
}
