//! The endpoint table from the last good files, where the kernel's own cannot be read.

use anyhow::{Result, ensure};

use super::desired::Desired;
use super::model::{Claim, Endpoints, Live, Table};

/// Fails unless every database that is live has a last good file: without one, nobody knows its endpoints.
///
/// # Errors
/// The databases without a file.
pub fn ensure_known(desired: &Desired, live: &Live) -> Result<()> {
    let ids = live.databases.values().map(|database| &database.id);
    let unknown: Vec<&str> = ids
        .filter(|id| !desired.databases.contains_key(*id) && !desired.removed.contains(*id))
        .map(|id| id.as_str())
        .collect();
    ensure!(unknown.is_empty(), "no last good file is stored of {}", unknown.join(", "));
    Ok(())
}

/// The table of the files' endpoints for the databases that are live, and of the tombstones.
#[must_use]
pub fn rebuilt_table(desired: &Desired, live: &Live) -> Table {
    let mut endpoints: Endpoints = desired.closed.iter().map(|target| (*target, Claim::Closed)).collect();
    for (slot, database) in &live.databases {
        let Some(wanted) = desired.databases.get(&database.id) else { continue };
        for target in &wanted.targets {
            let claim = Claim::Open { slot: *slot, mode: wanted.mode, default_line: database.default_line };
            endpoints.insert(*target, claim);
        }
    }
    Table::new(endpoints, &live.guarded)
}
