//! `firewall-agent block`, `close`, `allow` and `overlay`: decisions in an emergency, over the files, until they expire.

use std::io::Write;
use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::format::Format;
use super::hits::add;
use super::settings::{Located, Settings};
use super::style::Style;
use super::table::{column, or_dash, text, write_table};
use super::verbs::{carry_out, known};
use super::{BadInput, Exit};
use crate::agent::{Verb, join};
use crate::bpf::{CounterHits, Kernel};
use crate::escape::write_json;
use crate::files::store::{LastGoodStore, StateFile};
use crate::rules::DatabaseId;
use crate::sync::{CounterKind, Expiry, Live, OverlayAction, OverlayEntry, OverlayId};

/// End and reason of an entry.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Duration {
    /// Duration: 30m, 1h; at most 24h
    #[arg(long = "for", value_name = "TIME", required_unless_present = "until", conflicts_with = "until")]
    pub time: Option<SignedDuration>,
    /// End, of any distance: 2026-08-21T15:27:32Z
    #[arg(long, value_name = "TIME")]
    pub until: Option<Timestamp>,
    /// Reason, shown by `overlay`
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
}

/// Action on the overlay.
#[derive(Debug, Clone, clap::Subcommand)]
pub(super) enum Edit {
    /// End entries before their time
    Drop {
        /// Ids of the entries, as `overlay` lists them
        #[arg(required = true, value_name = "ENTRY")]
        entries: Vec<String>,
    },
}

/// One entry. Field names are an interface.
#[derive(Debug, Serialize)]
struct EntryRow {
    id: String,
    /// `block`, `close` or `allow`.
    action: &'static str,
    /// `None` for `close`.
    source: Option<String>,
    /// `None` for a block everywhere.
    database_id: Option<String>,
    created_at: Timestamp,
    until: Timestamp,
    note: String,
    /// Packets that it has decided about; `None` for `close`, and without a counter in the kernel.
    packets: Option<u64>,
    last_hit: Option<Timestamp>,
}

pub(super) fn block(
    settings: Settings,
    (source, database): (&str, Option<&str>),
    duration: &Duration,
    out: &mut impl Write,
) -> Result<Exit> {
    let source = network(source)?;
    let database = database.map(|database| known(&settings, database)).transpose()?;
    add_entry(settings, OverlayAction::Block { source, database }, duration, out)
}

pub(super) fn close(
    settings: Settings,
    database: &str,
    duration: &Duration,
    out: &mut impl Write,
) -> Result<Exit> {
    let database = known(&settings, database)?;
    add_entry(settings, OverlayAction::Close { database }, duration, out)
}

pub(super) fn allow(
    settings: Settings,
    (source, database): (&str, &str),
    duration: &Duration,
    out: &mut impl Write,
) -> Result<Exit> {
    let source = network(source)?;
    let database = known(&settings, database)?;
    add_entry(settings, OverlayAction::Allow { source, database }, duration, out)
}

fn add_entry(
    settings: Settings,
    action: OverlayAction,
    duration: &Duration,
    out: &mut impl Write,
) -> Result<Exit> {
    let expiry = match (duration.time, duration.until) {
        (_, Some(time)) => Expiry::At { time },
        (Some(time), None) => Expiry::After {
            seconds: u64::try_from(time.as_secs())
                .map_err(|_| BadInput(format!("--for {time:#}: must not be negative")))?,
        },
        (None, None) => return Err(BadInput("give --for or --until".to_owned()).into()),
    };
    carry_out(settings, Verb::AddOverlay { action, expiry, note: duration.note.clone() }, out)
}

pub(super) fn edit(settings: Settings, edit: &Edit, out: &mut impl Write) -> Result<Exit> {
    let Edit::Drop { entries } = edit;
    let entries =
        entries.iter().map(|id| id.parse::<OverlayId>()).collect::<Result<_, _>>().map_err(BadInput)?;
    carry_out(settings, Verb::DropOverlay { entries }, out)
}

/// Lists the stored entries, also while no agent runs.
pub(super) fn list(directories: &Located, style: Style, out: &mut impl Write) -> Result<Exit> {
    let kernel = Kernel::open(&directories.bpffs_dir).ok();
    let live = kernel.as_ref().map(Kernel::live).transpose()?.unwrap_or_default();
    let records = LastGoodStore::new(StateFile::new(&directories.state_dir)).load()?;
    let (_, persisted, ..) = join(records, &live);
    let rows = persisted.overlay().entries().map(|entry| row(entry, kernel.as_ref(), &live));
    let rows: Vec<EntryRow> = rows.collect::<Result<_>>()?;
    match style.format {
        Format::Json => write_json(&rows, out)?,
        Format::Table | Format::Wide if rows.is_empty() => writeln!(out, "no entry: the files alone decide")?,
        Format::Table | Format::Wide => write_people(&rows, style, out)?,
    }
    Ok(Exit::Done)
}

fn row(entry: &OverlayEntry, kernel: Option<&Kernel>, live: &Live) -> Result<EntryRow> {
    let of_entry = |kind: &CounterKind| matches!(kind, CounterKind::LocalBlock | CounterKind::LocalAllow);
    let mut counters = live
        .counters
        .iter()
        .filter(|(_, rule)| of_entry(&rule.kind) && rule.id == entry.id.as_str())
        .map(|(counter, _)| *counter)
        .peekable();
    let is_counted = counters.peek().is_some();
    let mut hits = CounterHits::default();
    for counter in counters {
        if let Some(kernel) = kernel {
            add(&mut hits, kernel.hits(counter)?);
        }
    }
    Ok(EntryRow {
        id: entry.id.to_string(),
        action: entry.action.verb(),
        source: entry.action.source().map(|source| source.to_string()),
        database_id: entry.action.database().map(DatabaseId::to_string),
        created_at: entry.created_at,
        until: entry.until,
        note: entry.note.clone(),
        packets: is_counted.then_some(hits.packets),
        last_hit: hits.last,
    })
}

fn write_people(rows: &[EntryRow], style: Style, out: &mut impl Write) -> Result<()> {
    let columns = [
        column("ENTRY", 0),
        column("SOURCE", 1),
        column("DATABASE", 2),
        column("UNTIL", 0),
        column("PACKETS", 4),
        column("LAST HIT", 6),
        column("CREATED", 5),
        text("NOTE", 3),
    ];
    let cells = rows.iter().map(|one| {
        [
            one.id.clone(),
            or_dash(one.source.as_ref()),
            one.database_id.clone().unwrap_or_else(|| "every".to_owned()),
            style.time(one.until),
            or_dash(one.packets.as_ref()),
            one.last_hit.map_or_else(|| "-".to_owned(), |at| style.time(at)),
            style.time(one.created_at),
            one.note.clone(),
        ]
    });
    write_table(columns, cells, style, out)
}

/// A network, or a single address.
fn network(text: &str) -> Result<IpNet, BadInput> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match net {
        Ok(net) => Ok(net.trunc()),
        Err(_) => {
            Err(BadInput(format!("source {text:?}: neither an address nor a network such as 203.0.113.0/24")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::snapshots::{ago, check, now};

    #[test]
    fn screens_of_overlay() {
        let row = |id: &str, action, source: Option<&str>, database: Option<&str>| EntryRow {
            id: id.to_owned(),
            action,
            source: source.map(str::to_owned),
            database_id: database.map(str::to_owned),
            created_at: ago(300),
            until: now() + SignedDuration::from_mins(55),
            note: "scan from a botnet".to_owned(),
            packets: source.is_some().then_some(123_456),
            last_hit: source.is_some().then(|| ago(2)),
        };
        let database = Some("6a316183d0f1f10ecbcca123");
        let rows = [
            row("block:3f9a", "block", Some("203.0.113.0/24"), None),
            row("close:07c2", "close", None, database),
            row("allow:aa10", "allow", Some("2001:db8:1234:5678:9abc:def0:1234:5678/128"), database),
        ];
        check("overlay", |style, out| write_people(&rows, style, out));
    }

    #[test]
    fn a_source_is_a_network_or_an_address() {
        for (text, net) in
            [("203.0.113.7", "203.0.113.7/32"), ("203.0.113.7/24", "203.0.113.0/24"), ("::1", "::1/128")]
        {
            assert_eq!(network(text).unwrap().to_string(), net);
        }
        for text in ["203.0.113", "203.0.113.7/33", "", "orders"] {
            assert!(network(text).unwrap_err().0.contains(&format!("{text:?}")));
        }
    }
}
