//! `firewall-agent events [DATABASE]`: the durable history of this host.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;

use super::Exit;
use super::format::Format;
use super::known_databases::KnownDatabases;
use super::settings::Located;
use super::since::Since;
use super::style::Style;
use super::table::{column, text, write_table};
use crate::bpf::Kernel;
use crate::escape::write_json;
use crate::files::event_log::read_event_lines;
use crate::status::event::{Event, KINDS};

/// Selection of events.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Selection {
    /// Only events of this database
    pub database: Option<String>,
    /// Only events since then: 12h, 3d, 2026-08-21 or 2026-08-21T15:27:32Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,
    /// Only events of this kind; may be repeated
    #[arg(long, value_name = "KIND", value_parser = KINDS)]
    pub kind: Vec<String>,
    /// Print at most this many events, the newest
    #[arg(long, value_name = "ROWS", default_value_t = 50)]
    pub top: usize,
}

pub(super) fn events(
    directories: &Located,
    selection: &Selection,
    style: Style,
    out: &mut impl Write,
) -> Result<Exit> {
    let mut events = read_events(&directories.state_dir)?;
    if let Some(database) = &selection.database {
        let id = subject(directories, database, &events)?;
        events.retain(|event| event.is_about(&id));
    }
    let from = selection.since.map_or(Timestamp::MIN, |since| since.before(Timestamp::now()));
    events.retain(|event| event.time >= from);
    events.retain(|event| selection.kind.is_empty() || selection.kind.contains(&event.event));
    events.drain(..events.len().saturating_sub(selection.top));
    match style.format {
        Format::Json => write_json(&events, out)?,
        Format::Table | Format::Wide => write_people(&events, style, out)?,
    }
    Ok(Exit::Done)
}

/// Reads the history, oldest first, without lines that a full disk cut.
///
/// # Errors
/// A file cannot be read.
pub(super) fn read_events(state_dir: &Path) -> Result<Vec<Event>> {
    let lines = read_event_lines(state_dir)?;
    Ok(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The id of a database that this host knows, or that the history names.
fn subject(directories: &Located, database: &str, events: &[Event]) -> Result<String> {
    let live = Kernel::open(&directories.bpffs_dir).and_then(|kernel| kernel.live()).unwrap_or_default();
    let known =
        KnownDatabases::stored(&directories.state_dir, &live).unwrap_or_else(|_| KnownDatabases::live(&live));
    match known.find(database) {
        Ok(id) => Ok(id.to_string()),
        Err(_) if events.iter().any(|event| event.is_about(database)) => Ok(database.to_owned()),
        Err(error) => Err(error.into()),
    }
}

fn write_people(events: &[Event], style: Style, out: &mut impl Write) -> Result<()> {
    let rows = events.iter().map(|one| {
        let details = one.fields.iter().filter(|(_, value)| !value.is_null() && **value != "");
        let details = details.map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}={text}")
        });
        [style.time(one.time), one.event.clone(), one.message.clone(), details.collect::<Vec<_>>().join(" ")]
    });
    let columns = [column("TIME", 0), column("EVENT", 0), text("MESSAGE", 1), text("DETAILS", 2)];
    write_table(columns, rows, style, out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::snapshots::{check, now};

    #[test]
    fn screens_of_events() {
        let event = |event: &str, message: &str, fields: serde_json::Value| Event {
            time: now(),
            event: event.to_owned(),
            message: message.to_owned(),
            fields: fields.as_object().cloned().unwrap_or_default(),
        };
        let id = "6a316183d0f1f10ecbcca123";
        let events = [
            event("accepted", "rule file accepted", json!({"database": id, "revision": 42})),
            event("in_force", "revision in force", json!({"database": id, "revision": 42, "apply_ms": 3})),
            event("link", "link attached", json!({"interface": "eth0", "mode": "native"})),
        ];
        check("events", |style, out| write_people(&events, style, out));
    }
}
