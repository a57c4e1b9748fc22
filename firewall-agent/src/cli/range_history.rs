//! `firewall-agent ranges --history [RANGE]`: the last changes of the managed ranges.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::Exit;
use super::events::read_events;
use super::format::Format;
use super::settings::Located;
use super::style::Style;
use super::table::{column, write_table};
use crate::escape::write_json;
use crate::status::event::{Event, RANGE};

/// Most changes of one range.
const SHOWN: usize = 10;

/// One change of a range. Field names are an interface.
#[derive(Debug, Serialize)]
struct RangeChange {
    time: Timestamp,
    range_id: String,
    /// Of the list.
    revision: u64,
    /// Prefixes in force afterwards.
    prefixes: u64,
    added: u64,
    removed: u64,
}

pub(super) fn history(
    directories: &Located,
    range: Option<&str>,
    style: Style,
    out: &mut impl Write,
) -> Result<Exit> {
    let mut by_range: BTreeMap<String, Vec<RangeChange>> = BTreeMap::new();
    let events = read_events(&directories.state_dir)?;
    for change in events.iter().filter(|event| event.event == RANGE).map(RangeChange::from) {
        if range.is_none_or(|range| range == change.range_id) {
            by_range.entry(change.range_id.clone()).or_default().push(change);
        }
    }
    let mut changes: Vec<RangeChange> = Vec::new();
    for mut of_range in by_range.into_values() {
        changes.extend(of_range.drain(of_range.len().saturating_sub(SHOWN)..));
    }
    changes.sort_by_key(|change| change.time);
    match style.format {
        Format::Json => write_json(&changes, out)?,
        Format::Table | Format::Wide => write_people(&changes, style, out)?,
    }
    Ok(Exit::Done)
}

impl From<&Event> for RangeChange {
    fn from(event: &Event) -> Self {
        let number = |name: &str| event.fields.get(name).and_then(Value::as_u64).unwrap_or_default();
        Self {
            time: event.time,
            range_id: event.fields.get("range").and_then(Value::as_str).unwrap_or_default().to_owned(),
            revision: number("revision"),
            prefixes: number("prefixes"),
            added: number("added"),
            removed: number("removed"),
        }
    }
}

fn write_people(changes: &[RangeChange], style: Style, out: &mut impl Write) -> Result<()> {
    let rows = changes.iter().map(|one| {
        let RangeChange { revision, prefixes, added, removed, .. } = one;
        [
            style.time(one.time),
            one.range_id.clone(),
            revision.to_string(),
            prefixes.to_string(),
            format!("+{added}"),
            format!("-{removed}"),
        ]
    });
    let columns = [
        column("TIME", 0),
        column("RANGE", 0),
        column("REVISION", 4),
        column("PREFIXES", 3),
        column("ADDED", 2),
        column("REMOVED", 1),
    ];
    write_table(columns, rows, style, out)
}
