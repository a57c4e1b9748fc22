//! The last step of a publish: what nothing points at any more.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use jiff::Timestamp;

use super::{
    desired::{Desired, DesiredDatabase},
    digest::digest,
    lines::{Lines, free_lines},
    model::{Claim, Database, Line, Live, Slot, Sources, Stamp},
    plane::{DataPlane, Families},
    publish::{Published, replace},
};

/// Frees databases that left and lines that are no longer counted on. What cannot be freed now is tried again with
/// the next publish.
pub(super) fn free(
    desired: &Desired,
    open: &BTreeMap<Slot, (&DesiredDatabase, Lines)>,
    live: &mut Live,
    plane: &mut impl DataPlane,
    done: &mut Published,
) {
    for id in &desired.removed {
        let Some(slot) = live.slot(id) else { continue };
        if live
            .table
            .endpoints
            .values()
            .any(|claim| matches!(claim, Claim::Open { slot: owner, .. } if *owner == slot))
        {
            done.failed.insert(id.clone(), anyhow!("its endpoints could not be closed"));
            continue;
        }
        match remove(slot, live, plane) {
            Ok(()) => {
                done.removed.insert(id.clone());
            }
            Err(error) => {
                done.failed.insert(id.clone(), error);
            }
        }
    }
    let kept: BTreeMap<Slot, BTreeSet<_>> =
        open.iter().map(|(slot, (_, lines))| (*slot, lines.slots())).collect();
    let known: BTreeSet<Slot> = live.databases.keys().copied().collect();
    let unused = |slot, line: &Line| match kept.get(&line.database) {
        Some(kept) => !kept.contains(&slot),
        None => !known.contains(&line.database),
    };
    if let Err(error) = free_lines(unused, live, plane) {
        done.errors.push(error);
    }
}

/// Empties the allow list, then frees the lines that counted for it, then the slot: cut off in between, the database
/// is still there and is removed again.
fn remove(slot: Slot, live: &mut Live, plane: &mut impl DataPlane) -> Result<()> {
    let Some(database) = live.databases.get(&slot).cloned() else { return Ok(()) };
    live.generation += 1;
    let stamp = database.stamp.as_ref().map_or_else(
        || Stamp {
            revision: database.floor,
            generation: 0,
            applied_at: Timestamp::UNIX_EPOCH,
            digest: [0; 32],
        },
        Clone::clone,
    );
    let sources = Sources::default();
    let stamp = Stamp { generation: live.generation, digest: digest(&sources), ..stamp };
    let empty = Database { stamp: Some(stamp), sources, ..database };
    replace(slot, empty, Families { v4: true, v6: true }, live, plane)?;
    free_lines(|_, line| line.database == slot, live, plane)?;
    plane.free_database(slot)?;
    live.databases.remove(&slot);
    Ok(())
}
