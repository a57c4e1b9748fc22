//! Publishes the desired state, in the one order that is safe at every step:
//!
//! 1. close the leaving endpoints (tombstones), let databases that change to monitor mode pass, and mark ports before
//!    any endpoint exists there;
//! 2. replace each database's allow list;
//! 3. open the new endpoints, and enforce databases that leave monitor mode;
//! 4. free unreferenced slots and counters.
//!
//! Entries that come to a block list are published before step 1, those that leave after step 4.
//!
//! A failure of one database delays no other. Unchanged state is compared once and not written.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::sync::Arc;

use anyhow::{Context as _, Error, Result, anyhow};
use jiff::Timestamp;

use super::{
    batch::Batch,
    counters::{AssignedCounters, Counters},
    data_plane::{DataPlane, Families},
    desired::{Desired, DesiredDatabase},
    digest::digest,
    endpoint_plan::{EndpointPlan, differing},
    free::free,
    hits::FreedCounter,
    model::{CounterId, Database, DatabaseSlot, Indices, Live, Stamp},
    publish_blocks::{block, has_unblocked, unblock},
    publish_table::publish_table,
    remainder::remainder,
    room::{Crowded, Room, room},
    table::Table,
    unchanged::unchanged,
    write_tracker::WriteTracker,
};
use crate::rules::{DatabaseId, Mode, PrefixMap};

/// Context of the error where new entries of a block list are not published.
const BLOCK: &str = "cannot publish the block lists";

/// Result of a publish.
#[derive(Debug, Default)]
pub struct Published {
    /// Databases now in force at a new generation.
    pub applied: BTreeMap<DatabaseId, Stamp>,
    /// Databases that left.
    pub removed: BTreeSet<DatabaseId>,
    /// Databases that could not reach the desired state, with the reason.
    pub failed: BTreeMap<DatabaseId, Error>,
    /// Those of `failed` without capacity. The kernel refused nothing: a retry fails until something changes.
    pub crowded: BTreeSet<DatabaseId>,
    /// Rules, by database, without a counter of their own: all counters of the host are in use.
    pub uncounted: BTreeMap<DatabaseId, usize>,
    /// Failures not of a single database.
    pub errors: Vec<Error>,
    /// Freed rule counters.
    pub freed: BTreeMap<CounterId, FreedCounter>,
    /// Sources may have lost access: a list lost a prefix, or the endpoint table changed.
    pub revoked: bool,
    /// A replacement of the endpoint table was attempted.
    pub replaced_table: bool,
    /// The data plane refused a write: its state may differ from the live state.
    pub refused_writes: bool,
}

/// Publishes `desired` to `data_plane`; `live` is the state of the data plane, and is updated with it.
///
/// When `desired` is in force already, nothing is written.
pub fn publish(
    desired: &Desired,
    live: &mut Live,
    data_plane: &mut impl DataPlane,
    now: Timestamp,
) -> Published {
    let mut data_plane = WriteTracker::new(data_plane);
    let Room { mut crowded, late } = room(desired, live, data_plane.sizes().databases);
    let waits = |id: &DatabaseId| (id.clone(), Crowded::late());
    crowded.extend(late.iter().map(waits));
    let mut done = pass(desired, &crowded, live, &mut data_plane, now);
    if !late.is_empty() && !data_plane.has_refused() {
        crowded.retain(|id, _| !late.contains(id));
        done = done.followed_by(pass(desired, &crowded, live, &mut data_plane, now));
    }
    // A closing that was refused may still let a source pass that a block refuses until now.
    if data_plane.has_refused() {
        if done.errors.is_empty() && !has_unblocked(desired, live) {
            done.errors
                .push(anyhow!("entries of the block lists stay until every refused write is repeated"));
        }
    } else if let Err(error) = unblock(desired, live, &mut data_plane) {
        done.errors.push(error.context("cannot remove entries from the block lists"));
    }
    done.replaced_table = data_plane.has_replaced_table();
    done.revoked |= done.replaced_table;
    done.refused_writes = data_plane.has_refused();
    done
}

impl Published {
    /// Merges the results of two publishes; the second is of the final desired state.
    #[must_use]
    pub fn followed_by(self, second: Self) -> Self {
        let applied = self.applied.into_iter().chain(second.applied);
        Self {
            applied: applied.filter(|(id, _)| !second.failed.contains_key(id)).collect(),
            removed: self.removed.into_iter().chain(second.removed).collect(),
            freed: self.freed.into_iter().chain(second.freed).collect(),
            revoked: self.revoked || second.revoked,
            replaced_table: self.replaced_table || second.replaced_table,
            refused_writes: self.refused_writes || second.refused_writes,
            ..second
        }
    }
}

/// Publishes everything except databases that do not fit.
fn pass(
    desired: &Desired,
    crowded: &BTreeMap<DatabaseId, Crowded>,
    live: &mut Live,
    data_plane: &mut impl DataPlane,
    now: Timestamp,
) -> Published {
    let (slots, sizes) = (live.slots(), data_plane.sizes());
    let blocked = block(desired, &slots, live, data_plane);
    let plan = EndpointPlan::new(desired, crowded, live, blocked.refusal.is_some());
    let (moves, waiting, refusal) = close(&plan, desired, crowded, &slots, live, data_plane);
    let unblocked = blocked.refusal.map(|error| error.context(BLOCK));
    let mut pass = Pass {
        waits_for_blocks: unblocked.is_some(),
        counters: None,
        slots,
        live,
        data_plane,
        now,
        batch: Batch::default(),
        free: sizes.slots().peekable(),
        open: BTreeMap::new(),
        done: Published { crowded: crowded.keys().cloned().collect(), ..Published::default() },
    };
    pass.done.revoked |= blocked.is_new;
    pass.done.errors.extend(unblocked.into_iter().chain(refusal));
    for (id, wanted) in &desired.databases {
        pass.replace(id, wanted, crowded.get(id), &waiting);
    }
    pass.publish_batch();
    let Pass { slots, live, data_plane, mut open, mut done, .. } = pass;
    // Entries at databases that were new.
    if let Some(error) = block(desired, &slots, live, data_plane).refusal {
        for id in
            desired.databases.keys().filter(|id| slots.get(*id).is_some_and(|slot| open.contains_key(slot)))
        {
            let reason = || anyhow!("waits for the block lists to be published");
            done.failed.entry(id.clone()).or_insert_with(reason);
        }
        open.clear();
        if done.errors.is_empty() {
            done.errors.push(error.context(BLOCK));
        }
    }
    for (id, Crowded { error, .. }) in crowded {
        done.failed.entry(id.clone()).or_insert_with(|| anyhow!("{error:#}"));
    }
    let published = |id: &DatabaseId| {
        let slot = slots.get(id).filter(|slot| open.contains_key(*slot) && !done.failed.contains_key(id))?;
        Some((*slot, slot.default_counter()))
    };
    let table = || Table::unless_live(plan.opening(published), &desired.guarded, &live.table);
    let table = if moves { table() } else { None };
    if let Err(error) = publish_table(table.as_ref(), &desired.guarded, live, data_plane) {
        let late = differing(table.as_ref(), live);
        for (id, _) in slots.iter().filter(|(_, slot)| late.contains(slot)) {
            let reason = || anyhow!("cannot update its endpoints");
            done.failed.entry(id.clone()).or_insert_with(reason);
        }
        done.errors.push(error.context("cannot update the endpoint table"));
    } else if !desired.frees_nothing {
        free(desired, &open, live, data_plane, &mut done);
    }
    let Published { applied, failed, .. } = &mut done;
    applied.retain(|id, _| !failed.contains_key(id));
    done
}

/// Closes leaving endpoints. Returns whether the endpoint table differs from the desired one, and, after a refusal, the
/// databases with leaving endpoints that are still open: their allow lists may not change, others may.
fn close(
    plan: &EndpointPlan<'_>,
    desired: &Desired,
    crowded: &BTreeMap<DatabaseId, Crowded>,
    slots: &BTreeMap<DatabaseId, DatabaseSlot>,
    live: &mut Live,
    data_plane: &mut impl DataPlane,
) -> (bool, BTreeSet<DatabaseSlot>, Option<Error>) {
    let fits = |id: &DatabaseId| !crowded.contains_key(id);
    let is_new = desired.databases.keys().any(|id| fits(id) && !slots.contains_key(id));
    let assigned =
        |id: &DatabaseId| slots.get(id).filter(|_| fits(id)).map(|slot| (*slot, slot.default_counter()));
    if !is_new && Table::unless_live(plan.opening(assigned), &desired.guarded, &live.table).is_none() {
        return (false, BTreeSet::new(), None);
    }
    // No port may lose its guard before the desired endpoints exist there.
    let guarded = desired.guarded.stricter(&live.guarded);
    let table = Table::unless_live(plan.closing(&live.table), &guarded, &live.table);
    match publish_table(table.as_ref(), &guarded, live, data_plane) {
        Ok(()) => (true, BTreeSet::new(), None),
        Err(error) => {
            (true, differing(table.as_ref(), live), Some(error.context("cannot close the leaving endpoints")))
        }
    }
}

/// One pass over all databases.
struct Pass<'a, P> {
    live: &'a mut Live,
    data_plane: &'a mut P,
    /// Block lists lack desired entries: nothing may open.
    waits_for_blocks: bool,
    now: Timestamp,
    slots: BTreeMap<DatabaseId, DatabaseSlot>,
    /// Collected for the first database that is not confirmed.
    counters: Option<Counters>,
    batch: Batch,
    /// Database slots that may be free: none before them is.
    free: Peekable<Indices<DatabaseSlot>>,
    /// Databases with the desired allow list, and their counters; `None` where all counters stay.
    open: BTreeMap<DatabaseSlot, Option<AssignedCounters>>,
    done: Published,
}

impl<P: DataPlane> Pass<'_, P> {
    /// Replaces the allow list of a database; where the database has no capacity or its leaving endpoints are still
    /// open, only removes sources that are no longer allowed.
    fn replace(
        &mut self,
        id: &DatabaseId,
        wanted: &Arc<DesiredDatabase>,
        crowded: Option<&Crowded>,
        waiting: &BTreeSet<DatabaseSlot>,
    ) {
        let slot = self.slots.get(id).copied();
        let is_waiting = |slot| self.waits_for_blocks || waiting.contains(&slot);
        let waits = crowded.is_none() && slot.map_or(self.waits_for_blocks, is_waiting);
        // Monitor mode passes everyone: it revokes nothing.
        let revokes = slot.filter(|_| waits && wanted.mode == Mode::Enforce);
        let revoked = revokes.and_then(|slot| remainder(slot, wanted, usize::MAX, self.live)).map(Arc::new);
        let remainder = crowded.and_then(|crowded| crowded.remainder.as_ref()).or(revoked.as_ref());
        if waits {
            let reason = if self.waits_for_blocks {
                anyhow!("waits for the block lists to be published")
            } else {
                anyhow!("waits for its leaving endpoints to be closed")
            };
            self.done.failed.insert(id.clone(), reason);
        }
        let wanted = match remainder {
            Some(remainder) => remainder,
            None if waits || crowded.is_some() => return,
            None => wanted,
        };
        if let Err(error) = self.prepare(id, wanted) {
            self.done.failed.entry(id.clone()).or_insert(error);
        }
        if self.batch.is_full() {
            self.publish_batch();
        }
    }

    /// Assigns a slot and counters to a database and adds it to the batch, unless it is in force unchanged.
    fn prepare(&mut self, id: &DatabaseId, desired: &Arc<DesiredDatabase>) -> Result<()> {
        let slot = self.slot(id)?;
        if let Some(uncounted) = self.live.confirmed.uncounted(slot, desired) {
            self.retain(id, slot, uncounted);
            return Ok(());
        }
        let counters = self.counters.get_or_insert_with(|| Counters::new(self.live, self.data_plane));
        if let Some(uncounted) = unchanged(slot, desired, counters, self.live) {
            self.live.confirmed.insert(slot, Arc::clone(desired), uncounted);
            self.retain(id, slot, uncounted);
            return Ok(());
        }
        let assigned = AssignedCounters::assign(slot, desired, counters, self.live, self.data_plane)?;
        self.count_uncounted(id, assigned.uncounted);
        let (default_counter, sources) = (assigned.default, assigned.sources(desired));
        self.open.insert(slot, Some(assigned));
        let before = self.live.databases.get(&slot);
        let nothing = PrefixMap::new();
        let known = before.filter(|before| before.stamp.is_some());
        let current = known.map_or(&nothing, |before| &*before.sources);
        // Without a stamp in force the contents of the tries are unknown: both are replaced.
        let changed = Families {
            v4: known.is_none() || current.v4 != sources.v4,
            v6: known.is_none() || current.v6 != sources.v6,
        };
        let same = known.is_some_and(|before| {
            before.name == desired.name
                && before.stamp.as_ref().is_some_and(|stamp| stamp.revision == desired.revision)
        });
        if same && changed == Families::default() {
            return Ok(());
        }
        self.done.revoked |= known.is_none() || current.keys().any(|net| sources.get(&net).is_none());
        self.live.generation += 1;
        let stamp = Stamp {
            revision: desired.revision,
            generation: self.live.generation,
            applied_at: self.now,
            digest: digest(&sources),
        };
        let database = Database {
            id: id.clone(),
            name: desired.name.clone(),
            default_counter,
            floor: desired.revision,
            stamp: Some(stamp),
            sources: Arc::new(sources),
        };
        self.slots.insert(id.clone(), slot);
        self.batch.add(slot, database, changed, self.live);
        Ok(())
    }

    /// Opens a database that is in force unchanged.
    fn retain(&mut self, id: &DatabaseId, slot: DatabaseSlot, uncounted: usize) {
        self.count_uncounted(id, uncounted);
        self.open.insert(slot, None);
    }

    fn count_uncounted(&mut self, id: &DatabaseId, uncounted: usize) {
        if uncounted > 0 {
            self.done.uncounted.insert(id.clone(), uncounted);
        }
    }

    /// Publishes the waiting allow lists; databases that fail are not opened.
    fn publish_batch(&mut self) {
        for (slot, result) in self.batch.publish(self.live, self.data_plane) {
            let Some(Database { id, stamp, .. }) = self.live.databases.get(&slot) else { continue };
            match (result, stamp) {
                (Err(error), _) => {
                    self.open.remove(&slot);
                    self.done.failed.insert(id.clone(), error);
                }
                (Ok(()), Some(stamp)) => _ = self.done.applied.insert(id.clone(), stamp.clone()),
                (Ok(()), None) => {}
            }
        }
    }

    fn slot(&mut self, id: &DatabaseId) -> Result<DatabaseSlot> {
        if let Some(slot) = self.slots.get(id) {
            return Ok(*slot);
        }
        let is_used =
            |slot: &DatabaseSlot| self.live.databases.contains_key(slot) || self.live.blocks.refer_to(*slot);
        while self.free.next_if(is_used).is_some() {}
        let capacity = self.data_plane.sizes().databases;
        self.free
            .peek()
            .copied()
            .with_context(|| format!("no room: all {capacity} database slots are in use"))
    }
}
