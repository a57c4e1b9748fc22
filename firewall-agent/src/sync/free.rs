//! Last step of a publish: frees unreferenced databases and counters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::anyhow;
use jiff::Timestamp;

use super::{
    batch::Batch,
    counters::{AssignedCounters, free_counters},
    data_plane::{DataPlane, Families},
    desired::Desired,
    digest::digest,
    model::{CounterId, Database, DatabaseSlot, Live, RuleCounter, Stamp},
    publish::Published,
};
use crate::rules::{DatabaseId, PrefixMap};

/// Frees databases that left and counters no longer in use. The next publish retries failures.
pub(super) fn free(
    desired: &Desired,
    open: &BTreeMap<DatabaseSlot, Option<AssignedCounters>>,
    live: &mut Live,
    data_plane: &mut impl DataPlane,
    done: &mut Published,
) {
    remove(desired, live, data_plane, done);
    let retained: BTreeMap<DatabaseSlot, BTreeSet<_>> =
        open.iter().filter_map(|(slot, assigned)| Some((*slot, assigned.as_ref()?.counters()))).collect();
    let known: BTreeSet<DatabaseSlot> = live.databases.keys().copied().collect();
    // Most neighbours belong to one database.
    let mut last: Option<(DatabaseSlot, Option<&BTreeSet<CounterId>>, bool)> = None;
    let unused = |counter, rule: &RuleCounter| {
        let slot = rule.database;
        let (_, retained, is_known) = match last {
            Some(found) if found.0 == slot => found,
            // Block lists free their own.
            _ => (slot, retained.get(&slot), slot == DatabaseSlot::NONE || known.contains(&slot)),
        };
        last = Some((slot, retained, is_known));
        retained.map_or(!is_known, |retained| !retained.contains(&counter))
    };
    if let Err(error) = free_counters(unused, live, data_plane, &mut done.freed) {
        done.errors.push(error);
    }
}

/// Empties the allow lists, then frees their counters, then the slots: after an interruption in between, the database
/// still exists and is removed again.
fn remove(desired: &Desired, live: &mut Live, data_plane: &mut impl DataPlane, done: &mut Published) {
    let mut batch = Batch::default();
    let leaving = live.databases.iter().filter(|(_, database)| desired.removed.contains(&database.id));
    let leaving: Vec<(DatabaseSlot, DatabaseId)> =
        leaving.map(|(slot, database)| (*slot, database.id.clone())).collect();
    if leaving.is_empty() {
        return;
    }
    let open = live.open_endpoints();
    for (slot, id) in leaving {
        if !open.of(slot).is_empty() {
            done.failed.insert(id, anyhow!("cannot close its endpoints"));
            continue;
        }
        empty(slot, live, &mut batch);
        if batch.is_full() {
            remove_emptied(&mut batch, live, data_plane, done);
        }
    }
    remove_emptied(&mut batch, live, data_plane, done);
}

fn empty(slot: DatabaseSlot, live: &mut Live, batch: &mut Batch) {
    let Some(database) = live.databases.get(&slot).cloned() else { return };
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
    let sources = Arc::new(PrefixMap::new());
    let stamp = Stamp { generation: live.generation, digest: digest(&sources), ..stamp };
    batch.add(
        slot,
        Database { stamp: Some(stamp), sources, ..database },
        Families { v4: true, v6: true },
        live,
    );
}

fn remove_emptied(batch: &mut Batch, live: &mut Live, data_plane: &mut impl DataPlane, done: &mut Published) {
    let emptied = batch.publish(live, data_plane);
    let gone: BTreeSet<DatabaseSlot> =
        emptied.iter().filter(|(_, result)| result.is_ok()).map(|(slot, _)| *slot).collect();
    let freed = free_counters(|_, rule| gone.contains(&rule.database), live, data_plane, &mut done.freed);
    let freed = freed.map_err(|error| format!("{error:#}"));
    for (slot, result) in emptied {
        let Some(id) = live.databases.get(&slot).map(|database| database.id.clone()) else { continue };
        let counters = freed.as_ref().copied().map_err(|error| anyhow!("{error}"));
        match result.and(counters).and_then(|()| data_plane.free_database(slot)) {
            Ok(()) => {
                live.databases.remove(&slot);
                live.confirmed.remove(slot);
                done.removed.insert(id);
            }
            Err(error) => {
                done.failed.insert(id, error);
            }
        }
    }
}
