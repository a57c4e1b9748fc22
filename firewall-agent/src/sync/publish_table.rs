//! Publishing of the endpoint table and the port marks checked before it.

use anyhow::Result;

use super::data_plane::DataPlane;
use super::model::{Guards, Live, Ports};
use super::table::Table;

/// Marks ports, replaces the table if it changed, then unmarks ports: no endpoint ever lacks a mark,
/// and no tombstone its row at a port that becomes closed to new connections only.
pub(super) fn publish_table(
    table: Option<&Table>,
    guarded: &Guards,
    live: &mut Live,
    data_plane: &mut impl DataPlane,
) -> Result<()> {
    let claimed: Ports = table.unwrap_or(&live.table).endpoints.keys().map(|to| to.port).collect();
    let before: Ports = claimed.union(&live.claimed);
    set_ports(before, guarded.stricter(&live.guarded), live, data_plane)?;
    if let Some(table) = table {
        data_plane.publish_table(table)?;
        live.table.clone_from(table);
    }
    set_ports(claimed, guarded.clone(), live, data_plane)
}

fn set_ports(
    claimed: Ports,
    guarded: Guards,
    live: &mut Live,
    data_plane: &mut impl DataPlane,
) -> Result<()> {
    if live.claimed != claimed || live.guarded != guarded {
        data_plane.set_ports(&claimed, &guarded)?;
        live.claimed = claimed;
        live.guarded = guarded;
    }
    Ok(())
}
