//! The kernel as it was left, where somebody else has changed it.

use std::collections::BTreeSet;

use anyhow::Result;

use super::batch::Batch;
use super::model::{Database, Live, Slot, Stamp};
use super::plane::{DataPlane, Families};

/// What the kernel holds other than was left there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    /// Marks of claimed or guarded ports.
    pub ports: bool,
    /// The endpoint table.
    pub table: bool,
    /// Allow lists, or their records, by slot.
    pub sources: BTreeSet<Slot>,
    /// What stands in front of the allow lists: not published, but worked out of them.
    pub filters: bool,
}

impl Drift {
    /// What is to be repaired, by the names that `status` counts repairs under.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        let sources = !self.sources.is_empty();
        let found = [
            (self.ports, "ports"),
            (self.table, "endpoints"),
            (sources, "sources"),
            (self.filters, "filters"),
        ];
        found.into_iter().filter_map(|(drifted, kind)| drifted.then_some(kind))
    }
}

/// Publishes again what `live` says, where the kernel differs; filters are the kernel's own matter. Ports come first, so that nothing stands at a port
/// without a mark, and the table last, when what it points at is right.
///
/// # Errors
/// When the kernel refuses. What should be there is then known as before, so that the next look finds the difference
/// again.
pub fn repair(drift: &Drift, live: &mut Live, plane: &mut impl DataPlane) -> Result<()> {
    let before = live.clone();
    let repaired = publish_again(drift, live, plane);
    if repaired.is_err() {
        // Numbers that were given out are not given out again.
        *live = Live { generation: live.generation, ..before };
    }
    repaired
}

fn publish_again(drift: &Drift, live: &mut Live, plane: &mut impl DataPlane) -> Result<()> {
    if drift.ports {
        plane.set_ports(&live.claimed, &live.guarded)?;
    }
    let mut batch = Batch::default();
    for slot in &drift.sources {
        let Some(database) = live.databases.get(slot).cloned() else { continue };
        live.generation += 1;
        let stamp = database.stamp.map(|stamp| Stamp { generation: live.generation, ..stamp });
        batch.add(*slot, Database { stamp, ..database }, Families { v4: true, v6: true }, live);
    }
    for (_, published) in batch.publish(live, plane) {
        published?;
    }
    if drift.table {
        plane.publish_table(&live.table)?;
    }
    Ok(())
}
