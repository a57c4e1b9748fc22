//! Repair of kernel objects that differ from the state the agent left.

use std::collections::BTreeSet;

use anyhow::Result;

use super::batch::Batch;
use super::data_plane::{DataPlane, Families};
use super::model::{Database, DatabaseSlot, Live, Stamp};
use super::publish_blocks;

/// Differences between the kernel and the state that the agent left there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    /// Marks of claimed or guarded ports.
    pub ports: bool,
    /// The endpoint table.
    pub table: bool,
    /// Block lists.
    pub blocks: bool,
    /// Allow lists, or their records, by database slot.
    pub sources: BTreeSet<DatabaseSlot>,
    /// Source prefilters: derived from the allow lists, not published.
    pub filters: bool,
}

impl Drift {
    /// Names of the drifted kinds, as `status` counts repairs.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        let sources = !self.sources.is_empty();
        let found = [
            (self.ports, "ports"),
            (self.table, "endpoints"),
            (self.blocks, "blocks"),
            (sources, "sources"),
            (self.filters, "filters"),
        ];
        found.into_iter().filter_map(|(drifted, kind)| drifted.then_some(kind))
    }
}

/// Publishes `live` again where the kernel differs; the data plane repairs filters itself. Ports come first, so that no
/// endpoint lacks its port mark; the table comes last, after the allow lists that it refers to.
///
/// # Errors
/// The kernel refused a write. `live` is then unchanged except for the generation, so that the next drift check finds
/// the difference again.
pub fn repair(drift: &Drift, live: &mut Live, data_plane: &mut impl DataPlane) -> Result<()> {
    let before = live.clone();
    let repaired = republish(drift, live, data_plane);
    if repaired.is_err() {
        // Generations are never assigned twice.
        *live = Live { generation: live.generation, ..before };
    }
    repaired
}

fn republish(drift: &Drift, live: &mut Live, data_plane: &mut impl DataPlane) -> Result<()> {
    if drift.ports {
        data_plane.set_ports(&live.claimed, &live.guarded)?;
    }
    if drift.blocks {
        publish_blocks::restore(live, data_plane)?;
    }
    let mut batch = Batch::default();
    for slot in &drift.sources {
        let Some(database) = live.databases.get(slot).cloned() else { continue };
        live.generation += 1;
        let stamp = database.stamp.map(|stamp| Stamp { generation: live.generation, ..stamp });
        batch.add(*slot, Database { stamp, ..database }, Families { v4: true, v6: true }, live);
    }
    for (_, published) in batch.publish(live, data_plane) {
        published?;
    }
    if drift.table {
        data_plane.publish_table(&live.table)?;
    }
    Ok(())
}
