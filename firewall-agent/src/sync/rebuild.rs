//! The endpoint table rebuilt from the accepted files, where the kernel's table cannot be read.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::desired::Desired;
use super::endpoint_plan::EndpointPlan;
use super::model::Live;
use super::table::Table;

/// Fails unless every live database has an accepted file: its endpoints are unknown otherwise.
///
/// # Errors
/// The databases without a file.
pub fn ensure_known(desired: &Desired, live: &Live) -> Result<()> {
    let ids = live.databases.values().map(|database| &database.id);
    let unknown: Vec<&str> = ids
        .filter(|id| !desired.databases.contains_key(*id) && !desired.removed.contains(*id))
        .map(|id| id.as_str())
        .collect();
    ensure!(unknown.is_empty(), "no accepted file is stored for {}", unknown.join(", "));
    Ok(())
}

/// The table that a publish of `desired` would leave with the live allow lists: the files' endpoints open, and the
/// tombstones. The endpoints in `live` are ignored.
#[must_use]
pub fn rebuilt_table(desired: &Desired, live: &Live) -> Table {
    let (crowded, slots) = (BTreeMap::new(), live.slots());
    let nothing = Live { databases: live.databases.clone(), ..Live::default() };
    let rows = EndpointPlan::new(desired, &crowded, &nothing, false)
        .opening(|id| slots.get(id).map(|slot| (*slot, live.databases[slot].default_counter)));
    Table::new(rows.into(), &live.guarded)
}
