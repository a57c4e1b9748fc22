//! Makes live what is desired, in the one order that is safe at every step:
//!
//! 1. what leaves is closed (tombstones), what is only watched from now on passes, and ports are marked before
//!    anything stands there;
//! 2. each database's allow list is replaced;
//! 3. what is new is opened, and what was only watched is enforced;
//! 4. what nothing points at any more is freed.
//!
//! One database's failure holds up no other.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Error, Result, anyhow};
use jiff::Timestamp;

use super::{
    batch::Batch,
    claims::{closed, differing, opened, shut},
    desired::{Desired, DesiredDatabase},
    digest::digest,
    free::free,
    lines::Lines,
    model::{Database, Endpoints, Live, Ports, Slot, Sources, Stamp, Table},
    plane::{DataPlane, Families},
    remainder::remainder,
    room::crowded,
};
use crate::rules::DatabaseId;

/// What a publish did.
#[derive(Debug, Default)]
pub struct Published {
    /// Databases that are now in force at a new generation.
    pub applied: BTreeMap<DatabaseId, Stamp>,
    /// Databases that left.
    pub removed: BTreeSet<DatabaseId>,
    /// Databases that could not be brought to what is desired, and why.
    pub failed: BTreeMap<DatabaseId, Error>,
    /// Rules, by database, that have no counter of their own: all lines of the host are in use.
    pub uncounted: BTreeMap<DatabaseId, usize>,
    /// What failed beside them.
    pub errors: Vec<Error>,
    pub refused_writes: bool,
}

/// Brings `plane` to `desired`; `live` is what the plane holds, and is kept so.
pub fn publish(desired: &Desired, live: &mut Live, plane: &mut impl DataPlane, now: Timestamp) -> Published {
    let mut done = Published { failed: crowded(desired, live), ..Published::default() };
    let closed = closed(desired, &done.failed, live);
    // With a leaving endpoint still open, the allow list behind it may not change; others may.
    let mut waiting = BTreeSet::new();
    if let Err(error) = close(&closed, desired, live, plane) {
        waiting = differing(&closed, live);
        done.errors.push(error.context("what leaves could not be closed"));
    }
    let refused = desired.databases.iter().filter(|(id, _)| done.failed.contains_key(*id));
    let remainders: BTreeMap<&DatabaseId, Option<DesiredDatabase>> =
        refused.map(|(id, wanted)| (id, remainder(id, wanted, live))).collect();
    let mut open = BTreeMap::new();
    let mut batch = Batch::default();
    for (id, database) in &desired.databases {
        let database = match remainders.get(id) {
            Some(Some(remainder)) => remainder,
            Some(None) => continue,
            None => database,
        };
        if live.slot(id).is_some_and(|slot| waiting.contains(&slot)) {
            done.failed.insert(id.clone(), anyhow!("waits for its leaving endpoints to be closed"));
            continue;
        }
        match prepare(id, database, live, plane, now, &mut batch) {
            Ok((slot, lines)) => {
                if lines.uncounted > 0 {
                    done.uncounted.insert(id.clone(), lines.uncounted);
                }
                open.insert(slot, (database, lines));
            }
            Err(error) => {
                done.failed.insert(id.clone(), error);
            }
        }
        if batch.is_full() {
            publish_batch(&mut batch, live, plane, &mut open, &mut done);
        }
    }
    publish_batch(&mut batch, live, plane, &mut open, &mut done);
    let guarded = if done.failed.is_empty() {
        desired.guarded.clone()
    } else {
        desired.guarded.union(&live.guarded).copied().collect()
    };
    let mut endpoints = opened(&open, live);
    shut(&mut endpoints, desired, &done.failed);
    if let Err(error) = publish_table(endpoints, &guarded, live, plane) {
        for id in desired.databases.keys() {
            done.applied.remove(id);
            let reason = || anyhow!("its endpoints could not be brought up to date");
            done.failed.entry(id.clone()).or_insert_with(reason);
        }
        done.errors.push(error.context("the endpoint table could not be brought up to date"));
        return done;
    }
    if !desired.keeps {
        free(desired, &open, live, plane, &mut done);
    }
    let Published { applied, failed, .. } = &mut done;
    applied.retain(|id, _| !failed.contains_key(id));
    done
}

fn close(
    endpoints: &Endpoints,
    desired: &Desired,
    live: &mut Live,
    plane: &mut impl DataPlane,
) -> Result<()> {
    // No port may lose its guard before what the files want there stands.
    let guarded = desired.guarded.union(&live.guarded).copied().collect();
    publish_table(endpoints.clone(), &guarded, live, plane)
}

/// Gives a database its slots and adds it to the batch, unless it is in force as it stands.
fn prepare(
    id: &DatabaseId,
    desired: &DesiredDatabase,
    live: &mut Live,
    plane: &mut impl DataPlane,
    now: Timestamp,
    batch: &mut Batch,
) -> Result<(Slot, Lines)> {
    let slot = slot(id, live, plane)?;
    let lines = Lines::assign(slot, desired, live, plane)?;
    let sources = lines.sources(desired);
    let before = live.databases.get(&slot);
    let nothing = Sources::default();
    let known = before.filter(|before| before.stamp.is_some());
    let held = known.map_or(&nothing, |before| &before.sources);
    // Without a stamp in force the tries may be anything: both are replaced.
    let changed = Families {
        v4: known.is_none() || held.v4 != sources.v4,
        v6: known.is_none() || held.v6 != sources.v6,
    };
    let same = known.is_some_and(|before| {
        before.name == desired.name
            && before.stamp.as_ref().is_some_and(|stamp| stamp.revision == desired.revision)
    });
    if same && changed == Families::default() {
        return Ok((slot, lines));
    }
    live.generation += 1;
    let stamp = Stamp {
        revision: desired.revision,
        generation: live.generation,
        applied_at: now,
        digest: digest(&sources),
    };
    let database = Database {
        id: id.clone(),
        name: desired.name.clone(),
        default_line: lines.default,
        floor: desired.revision,
        stamp: Some(stamp),
        sources,
    };
    batch.add(slot, database, changed, live);
    Ok((slot, lines))
}

/// Publishes the allow lists that wait; what failed is not to be opened.
fn publish_batch(
    batch: &mut Batch,
    live: &mut Live,
    plane: &mut impl DataPlane,
    open: &mut BTreeMap<Slot, (&DesiredDatabase, Lines)>,
    done: &mut Published,
) {
    for (slot, result) in batch.publish(live, plane) {
        let Some(Database { id, stamp, .. }) = live.databases.get(&slot) else { continue };
        match (result, stamp) {
            (Err(error), _) => {
                open.remove(&slot);
                done.failed.insert(id.clone(), error);
            }
            (Ok(()), Some(stamp)) => _ = done.applied.insert(id.clone(), stamp.clone()),
            (Ok(()), None) => {}
        }
    }
}

fn slot(id: &DatabaseId, live: &Live, plane: &impl DataPlane) -> Result<Slot> {
    if let Some(slot) = live.slot(id) {
        return Ok(slot);
    }
    let capacity = plane.capacity().0;
    (0..capacity)
        .find(|slot| !live.databases.contains_key(slot))
        .with_context(|| format!("no room for database {id}: all {capacity} slots are in use"))
}

/// Marks ports, replaces the table if it differs, and unmarks ports: a mark is never missing.
fn publish_table(
    endpoints: Endpoints,
    guarded: &Ports,
    live: &mut Live,
    plane: &mut impl DataPlane,
) -> Result<()> {
    let table = Table::new(endpoints, guarded);
    let claimed: Ports = table.endpoints.keys().map(|target| target.port).collect();
    let before: Ports = claimed.union(&live.claimed).copied().collect();
    set_ports(before, guarded.union(&live.guarded).copied().collect(), live, plane)?;
    if table != live.table {
        plane.publish_table(&table)?;
        live.table = table;
    }
    set_ports(claimed, guarded.clone(), live, plane)
}

fn set_ports(claimed: Ports, guarded: Ports, live: &mut Live, plane: &mut impl DataPlane) -> Result<()> {
    if live.claimed != claimed || live.guarded != guarded {
        plane.set_ports(&claimed, &guarded)?;
        live.claimed = claimed;
        live.guarded = guarded;
    }
    Ok(())
}
