//! `firewall-agent databases`: the databases that are live in the kernel.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use super::Exit;
use super::format::Format;
use super::settings::Located;
use super::style::Style;
use super::table::{column, first_of, or_dash, text, write_table};
use crate::agent::join;
use crate::bpf::Kernel;
use crate::escape::write_json;
use crate::files::store::{LastGoodStore, StateFile};
use crate::http::DatabaseCounters;
use crate::sync::{Database, Destination, Live, OpenEndpoint, TableEntry};

/// Complete output. Field names are an interface.
#[derive(Debug, Serialize)]
struct Databases {
    /// In the order of their ids.
    databases: Vec<DatabaseRow>,
    /// Destinations of removed endpoints, which stay closed.
    tombstones: Vec<String>,
}

/// One database. Field names are an interface.
#[derive(Debug, Serialize)]
struct DatabaseRow {
    database_id: String,
    /// Empty if the file has none.
    name: String,
    /// `enforce`, or `monitor` if at least one endpoint is in monitor mode; `None` if none is open.
    mode: Option<String>,
    /// `None` if the live state belongs to no revision: an apply was interrupted.
    revision: Option<u64>,
    generation: Option<u64>,
    applied_at: Option<Timestamp>,
    endpoints: Vec<String>,
    /// Prefixes in the allow list.
    prefixes: usize,
    /// Packets counted on its rules and internal ranges.
    packets_allowed: u64,
    /// Packets counted on its default counter; in monitor mode they passed.
    packets_denied: u64,
}

pub(super) fn databases(directories: &Located, style: Style, out: &mut impl Write) -> Result<Exit> {
    let kernel = Kernel::open(&directories.bpffs_dir)?;
    let live = kernel.live()?;
    let (open, counters) = (live.open_endpoints(), DatabaseCounters::of(&live));
    let nothing = DatabaseCounters::default();
    let rows = live.databases.iter().map(|(slot, database)| {
        let counters = counters.get(database.id.as_str()).unwrap_or(&nothing);
        row(database, open.of(*slot), counters, &kernel)
    });
    let mut rows: Vec<DatabaseRow> = rows.collect::<Result<_>>()?;
    rows.sort_by(|a, b| a.database_id.cmp(&b.database_id));
    let tombstones = closed(directories, &live).iter().map(ToString::to_string).collect();
    let databases = Databases { databases: rows, tombstones };
    match style.format {
        Format::Json => write_json(&databases, out)?,
        Format::Table | Format::Wide => write_people(&databases, style, out)?,
    }
    Ok(Exit::Done)
}

/// Destinations that stay closed: those of the kernel's table and, if the store is readable, those at guarded ports,
/// which need no row there.
fn closed(directories: &Located, live: &Live) -> BTreeSet<Destination> {
    let records = LastGoodStore::new(StateFile::new(&directories.state_dir)).load().unwrap_or_default();
    let (_, persisted, _, _) = join(records, live);
    let mut closed: BTreeSet<Destination> = persisted.claims().iter().copied().collect();
    let is_open = |to: &Destination| matches!(live.table.endpoints.get(to), Some(TableEntry::Open { .. }));
    closed.retain(|claim| !is_open(claim) && !is_open(&claim.everywhere()));
    closed
}

fn row(
    database: &Database,
    open: &[OpenEndpoint],
    counters: &DatabaseCounters,
    kernel: &Kernel,
) -> Result<DatabaseRow> {
    let mut allowed = 0;
    for counter in &counters.allowing {
        allowed += kernel.hits(*counter)?.packets;
    }
    let stamp = database.stamp.as_ref();
    Ok(DatabaseRow {
        database_id: database.id.to_string(),
        name: database.name.clone(),
        mode: open.iter().map(|one| one.mode).max().map(|mode| mode.to_string()),
        revision: stamp.map(|stamp| stamp.revision),
        generation: stamp.map(|stamp| stamp.generation),
        applied_at: stamp.map(|stamp| stamp.applied_at),
        endpoints: open.iter().map(|one| one.destination.to_string()).collect(),
        prefixes: database.sources.len(),
        packets_allowed: allowed,
        packets_denied: kernel.hits(database.default_counter)?.packets,
    })
}

fn write_people(databases: &Databases, style: Style, out: &mut impl Write) -> Result<()> {
    let rows = databases.databases.iter().map(|one| {
        [
            one.database_id.clone(),
            or_dash(Some(&one.name).filter(|name| !name.is_empty())),
            or_dash(one.mode.as_ref()),
            or_dash(one.revision),
            or_dash(one.generation),
            or_dash(one.applied_at.map(|at| style.time(at))),
            one.prefixes.to_string(),
            one.packets_allowed.to_string(),
            one.packets_denied.to_string(),
            first_of(&one.endpoints, style),
        ]
    });
    let columns = [
        column("DATABASE", 0),
        text("NAME", 2),
        column("MODE", 5),
        column("REV", 1),
        column("GEN", 9),
        column("APPLIED", 3),
        column("PREFIXES", 8),
        column("ALLOWED", 7),
        column("DENIED", 6),
        column("ENDPOINTS", 4),
    ];
    write_table(columns, rows, style, out)?;
    if !databases.tombstones.is_empty() {
        writeln!(out, "\nclosed (tombstones): {}", databases.tombstones.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::snapshots::{ago, check};

    #[test]
    fn screens_of_databases() {
        let row = |number: u32, name: &str, endpoints: &[&str]| DatabaseRow {
            database_id: format!("6a316183d0f1f10ecbcca{number:03}"),
            name: name.to_owned(),
            mode: Some("enforce".to_owned()),
            revision: Some(42),
            generation: Some(1_000),
            applied_at: Some(ago(300)),
            endpoints: endpoints.iter().map(|one| (*one).to_owned()).collect(),
            prefixes: 1_030,
            packets_allowed: 123_456_789,
            packets_denied: 4_321,
        };
        let databases = Databases {
            databases: vec![
                row(
                    1,
                    "orders of the northern and of the southern region",
                    &["192.0.2.10:30092/tcp", "*:30092/tcp"],
                ),
                row(2, "", &["[2001:db8:2:1234:5678:9abc:def0:10]:30092/tcp"]),
                row(3, "archive", &[]),
            ],
            tombstones: vec!["192.0.2.10:20300/tcp".to_owned(), "[2001:db8:2::10]:20300/udp".to_owned()],
        };
        check("databases", |style, out| write_people(&databases, style, out));
    }
}
