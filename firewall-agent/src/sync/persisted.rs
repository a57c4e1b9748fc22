//! Persisted state beside the accepted files: claims, revision floors, revisions in force, the clock mark, retired
//! counters, hits of rules, the detached flag, notices about managed ranges and the overlay. Every change is added to
//! the batch that the caller submits to the store.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firewall_common::Tally;
use jiff::Timestamp;
use tracing::warn;

use super::admit::Candidate;
use super::claimed_destinations::ClaimedDestinations;
use super::desired::destinations;
use super::hits::{FreedCounter, StoredHits};
use super::in_force::{InForce, RulesInForce};
use super::model::{Destination, Live};
use super::overlay::{Overlay, OverlayEntry, OverlayId};
use super::publish::Published;
use super::record::{Changes, Floor, Key, Presence, Record};
use crate::rules::{DatabaseId, DatabaseRules, RangeId, State};

/// Maximum number of floors stored for databases that have left this host.
const MAX_DEPARTED: usize = 65_536;

/// Persisted state of one host. The kernel loses everything at a reboot; the claims stored here must stay closed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PersistedState {
    /// Destinations that an accepted file claimed and no operator released.
    claims: Arc<ClaimedDestinations>,
    floors: BTreeMap<DatabaseId, Floor>,
    in_force: BTreeMap<DatabaseId, InForce>,
    retired: BTreeMap<DatabaseId, Tally>,
    hits: StoredHits,
    clock_mark: Option<Timestamp>,
    detached: Option<Timestamp>,
    range_notices: BTreeMap<RangeId, String>,
    overlay: Overlay,
    /// The highest [`Floor::order`] assigned.
    order: u64,
    /// Number of floors of inactive databases.
    departed: usize,
}

impl PersistedState {
    /// Loads a record from the store; returns records of accepted files, which [`AcceptedFiles`](super::AcceptedFiles)
    /// loads.
    pub fn load(&mut self, record: Record) -> Option<Record> {
        match record {
            Record::Claim(destination, owner) => {
                // Shares the text of the id: most claims belong to databases that have left.
                let known = |id: DatabaseId| {
                    self.floors.get_key_value(&id).map_or(id.clone(), |(known, _)| known.clone())
                };
                let owner = owner.map(known);
                Arc::make_mut(&mut self.claims).insert(destination, owner);
            }
            Record::Floor(id, floor) => {
                self.order = self.order.max(floor.order);
                self.departed += usize::from(floor.presence != Presence::Active);
                self.floors.insert(id, floor);
            }
            Record::InForce(id, in_force) => _ = self.in_force.insert(id, in_force),
            Record::Retired(id, retired) => _ = self.retired.insert(id, retired),
            Record::Hits(id, hits) => self.hits.load(id, hits),
            Record::CountersOf(identity) => self.hits.load_counters(identity),
            Record::ClockMark(mark) => self.clock_mark = Some(mark),
            Record::Detached(since) => self.detached = Some(since),
            Record::RangeNotice(id, notice) => _ = self.range_notices.insert(id, notice),
            Record::Overlay(entry) => self.overlay.insert(entry),
            accepted @ (Record::File(..) | Record::Ranges(..)) => return Some(accepted),
        }
        None
    }

    /// Rebuilds the maps after loading record by record: incremental inserts leave B-tree nodes half empty, a bulk
    /// build none.
    pub fn pack(&mut self) {
        Arc::make_mut(&mut self.claims).pack();
        self.floors = std::mem::take(&mut self.floors).into_iter().collect();
    }

    /// Adds state of the kernel that the store lacks: destinations in the endpoint table, and newer revisions of files
    /// that could not be stored.
    pub fn adopt(&mut self, live: &Live, changes: &mut Changes) {
        for (destination, owner) in live.owners() {
            if !self.claims.contains(&destination) {
                self.set_claim(destination, owner.cloned(), changes);
            }
        }
        for database in live.databases.values() {
            let floor = self.floors.get(&database.id).copied();
            let is_known = floor.is_some_and(|floor| floor.rebased || floor.revision >= database.floor);
            if !is_known {
                self.raise_floor(&database.id, database.floor, Presence::Active, changes);
            }
        }
    }

    /// Records an accepted file: its floor and its claims.
    pub fn accept(&mut self, rules: &DatabaseRules, changes: &mut Changes) {
        let presence = match rules.state {
            State::Active => Presence::Active,
            State::Removed => Presence::Removed,
        };
        self.raise_floor(&rules.id, rules.revision, presence, changes);
        if presence == Presence::Active {
            for destination in destinations(rules) {
                self.set_claim(destination, Some(rules.id.clone()), changes);
            }
        }
        if presence == Presence::Removed && self.in_force.remove(&rules.id).is_some() {
            changes.remove(Key::InForce(rules.id.clone()));
        }
    }

    /// Records the rules of a revision before its file, or the ranges that it uses, are replaced. Changes nothing unless
    /// they are in force as a whole.
    pub fn replace(
        &mut self,
        id: &DatabaseId,
        revision: u64,
        rules: impl FnOnce() -> RulesInForce,
        changes: &mut Changes,
    ) {
        if self.in_force.get(id) == Some(&InForce::complete(revision)) {
            self.set_in_force(id, InForce::with(revision, rules()), changes);
        }
    }

    fn raise_floor(&mut self, id: &DatabaseId, revision: u64, presence: Presence, changes: &mut Changes) {
        let before = self.floors.get(id);
        let rebased = before.is_some_and(|floor| floor.rebased);
        if before.is_some_and(|floor| (floor.revision, floor.presence) == (revision, presence)) {
            return;
        }
        self.order += 1;
        self.set_floor(id, Floor { revision, presence, rebased, order: self.order }, changes);
        if self.departed > MAX_DEPARTED {
            self.drop_oldest_floor(changes);
        }
    }

    fn set_floor(&mut self, id: &DatabaseId, floor: Floor, changes: &mut Changes) {
        let before = self.floors.insert(id.clone(), floor);
        let was_departed = before.is_some_and(|floor| floor.presence != Presence::Active);
        self.departed += usize::from(floor.presence != Presence::Active);
        self.departed -= usize::from(was_departed);
        changes.put(Record::Floor(id.clone(), floor));
    }

    fn drop_oldest_floor(&mut self, changes: &mut Changes) {
        let departed = self.floors.iter().filter(|(_, floor)| floor.presence != Presence::Active);
        let Some(oldest) = departed.min_by_key(|(_, floor)| floor.order).map(|(id, _)| id.clone()) else {
            return;
        };
        if let Some(floor) = self.floors.remove(&oldest) {
            warn!(
                database = %oldest,
                revision = floor.revision,
                most = MAX_DEPARTED,
                "revision floor dropped, too many removed databases"
            );
            self.departed -= 1;
            changes.remove(Key::Floor(oldest));
        }
    }

    fn set_claim(&mut self, destination: Destination, owner: Option<DatabaseId>, changes: &mut Changes) {
        if Arc::make_mut(&mut self.claims).insert(destination, owner.clone()) {
            changes.put(Record::Claim(destination, owner));
        }
    }

    fn set_in_force(&mut self, id: &DatabaseId, in_force: InForce, changes: &mut Changes) {
        if self.in_force.get(id) != Some(&in_force) {
            self.in_force.insert(id.clone(), in_force.clone());
            changes.put(Record::InForce(id.clone(), in_force));
        }
    }

    /// Records the revisions live after a publish. The rules in force are stored unless they are those of the accepted
    /// file (from `accepted`). After refused writes, as at a boot, a database that is not live is still published before
    /// newcomers.
    pub fn record_in_force(
        &mut self,
        live: &Live,
        accepted: &BTreeMap<DatabaseId, Candidate>,
        published: &Published,
        changes: &mut Changes,
    ) {
        let mut absent: BTreeSet<DatabaseId> = self.in_force.keys().cloned().collect();
        absent.retain(|id| !published.refused_writes || !accepted.contains_key(id));
        let open = LazyCell::new(|| live.open_endpoints());
        for (slot, database) in &live.databases {
            absent.remove(&database.id);
            let Some(stamp) = &database.stamp else { continue };
            let accepted = accepted.get(&database.id).map(|candidate| candidate.rules.revision);
            let is_newest = accepted == Some(stamp.revision) && !published.failed.contains_key(&database.id);
            if is_newest || accepted.is_none() {
                self.set_in_force(&database.id, InForce::complete(stamp.revision), changes);
            } else {
                let rules = RulesInForce::of_live(database, open.of(*slot));
                // Half published after a boot: the rules from before it are still to be restored.
                if !rules.destinations.is_empty() || !self.in_force.contains_key(&database.id) {
                    self.set_in_force(&database.id, InForce::with(stamp.revision, rules), changes);
                }
            }
            let floor = self.floors.get(&database.id).copied();
            let is_met = |floor: &Floor| is_newest && floor.rebased && floor.revision == stamp.revision;
            if let Some(floor) = floor.filter(is_met) {
                self.set_floor(&database.id, Floor { rebased: false, ..floor }, changes);
            }
        }
        for id in absent {
            let rules =
                self.in_force.remove(&id).and_then(|in_force| Some((in_force.revision, in_force.rules?)));
            if let Some((revision, rules)) = rules.filter(|_| accepted.contains_key(&id)) {
                self.set_in_force(&id, InForce { revision, rules: Some(rules), is_lost: true }, changes);
            } else {
                changes.remove(Key::InForce(id));
            }
        }
    }

    /// Adds the counts of freed counters, starts those of new rules, and drops those of databases that left.
    pub fn record_hits(
        &mut self,
        freed: &[(FreedCounter, Tally)],
        published: &Published,
        live: &Live,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        self.hits.retire(freed, changes);
        self.hits.begin(live, |id| published.applied.contains_key(id), now, changes);
        let floors = &self.floors;
        let is_here =
            |id: &DatabaseId| floors.get(id).is_some_and(|floor| floor.presence == Presence::Active);
        self.hits.retain(is_here, changes);
        self.retire(freed, live, changes);
    }

    /// Adds the counts of freed counters, and drops the sums of databases that left the kernel.
    fn retire(&mut self, freed: &[(FreedCounter, Tally)], live: &Live, changes: &mut Changes) {
        let counted = freed.iter().filter(|(_, counted)| counted.packets > 0);
        for (id, counted) in counted.map(|(freed, counted)| (freed.database.clone(), *counted)) {
            let sum = self.retired.entry(id.clone()).or_default();
            *sum += counted;
            changes.put(Record::Retired(id, *sum));
        }
        if self.retired.is_empty() {
            return;
        }
        let present: BTreeSet<&DatabaseId> = live.databases.values().map(|database| &database.id).collect();
        self.retired.retain(|id, _| {
            let is_present = present.contains(id);
            if !is_present {
                changes.remove(Key::Retired(id.clone()));
            }
            is_present
        });
    }

    /// Drops a database on an operator's command. Its floor and its claims stay.
    pub fn forget(&mut self, id: &DatabaseId, changes: &mut Changes) {
        let revision = self.floor(id);
        self.raise_floor(id, revision, Presence::Forgotten, changes);
        if self.in_force.remove(id).is_some() {
            changes.remove(Key::InForce(id.clone()));
        }
    }

    /// Releases destinations, which then need no tombstone.
    pub fn release<'a>(
        &mut self,
        destinations: impl IntoIterator<Item = &'a Destination>,
        changes: &mut Changes,
    ) {
        for destination in destinations {
            if Arc::make_mut(&mut self.claims).remove(destination) {
                changes.remove(Key::Claim(*destination));
            }
        }
    }

    /// Lets the next file of a database have any revision.
    pub fn rebase(&mut self, id: &DatabaseId, changes: &mut Changes) {
        self.order += 1;
        let presence = self.floors.get(id).map_or(Presence::Active, |floor| floor.presence);
        self.set_floor(id, Floor { revision: 0, presence, rebased: true, order: self.order }, changes);
    }

    pub fn set_clock_mark(&mut self, mark: Timestamp, changes: &mut Changes) {
        if self.clock_mark != Some(mark) {
            self.clock_mark = Some(mark);
            changes.put(Record::ClockMark(mark));
        }
    }

    pub fn set_detached(&mut self, detached: Option<Timestamp>, changes: &mut Changes) {
        if self.detached != detached {
            self.detached = detached;
            match detached {
                Some(since) => changes.put(Record::Detached(since)),
                None => changes.remove(Key::Detached),
            }
        }
    }

    /// Replaces the notices about managed ranges: by those of a new list, or by none.
    pub fn set_range_notices(&mut self, notices: BTreeMap<RangeId, String>, changes: &mut Changes) {
        for id in self.range_notices.keys().filter(|id| !notices.contains_key(*id)) {
            changes.remove(Key::RangeNotice(id.clone()));
        }
        for (id, notice) in notices.iter().filter(|(id, notice)| self.range_notices.get(*id) != Some(notice))
        {
            changes.put(Record::RangeNotice(id.clone(), notice.clone()));
        }
        self.range_notices = notices;
    }

    /// Unusual changes of managed ranges in force, not acknowledged yet.
    #[must_use]
    pub fn range_notices(&self) -> &BTreeMap<RangeId, String> {
        &self.range_notices
    }

    pub fn add_overlay(&mut self, entry: OverlayEntry, changes: &mut Changes) {
        changes.put(Record::Overlay(entry.clone()));
        self.overlay.insert(entry);
    }

    /// Drops an entry of the overlay, and returns it.
    pub fn drop_overlay(&mut self, id: &OverlayId, changes: &mut Changes) -> Option<OverlayEntry> {
        let dropped = self.overlay.remove(id)?;
        changes.remove(Key::Overlay(id.clone()));
        Some(dropped)
    }

    /// The decisions of operators over the files, expired ones included until the next pass.
    #[must_use]
    pub fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// Destinations that must be closed wherever no endpoint is open: every claim.
    #[must_use]
    pub fn claims(&self) -> &Arc<ClaimedDestinations> {
        &self.claims
    }

    /// Destinations with this database as their last claimant.
    #[must_use]
    pub fn claimed_by(&self, id: &DatabaseId) -> BTreeSet<Destination> {
        self.claims.of(id).copied().collect()
    }

    /// Returns `true` for a destination that a file has claimed and that no operator has released.
    #[must_use]
    pub fn is_claimed(&self, destination: &Destination) -> bool {
        self.claims.contains(destination)
    }

    /// Every database with a record, also removed and forgotten ones.
    #[must_use]
    pub fn databases(&self) -> BTreeSet<&DatabaseId> {
        self.floors.keys().chain(self.claims.claimants()).collect()
    }

    /// Lowest revision that a file of a database may have; 0 for a database never accepted, and after `rebase`.
    #[must_use]
    pub fn floor(&self, id: &DatabaseId) -> u64 {
        self.floors.get(id).map_or(0, |floor| floor.revision)
    }

    /// Presence of a database; `None` for a database never accepted.
    #[must_use]
    pub fn presence(&self, id: &DatabaseId) -> Option<Presence> {
        self.floors.get(id).map(|floor| floor.presence)
    }

    /// Number of databases that have left this host and have a stored floor.
    #[must_use]
    pub fn departed(&self) -> usize {
        self.departed
    }

    /// Revisions in force, by database, as last recorded, and lost ones.
    #[must_use]
    pub fn in_force(&self) -> &BTreeMap<DatabaseId, InForce> {
        &self.in_force
    }

    #[must_use]
    pub fn retired(&self) -> &BTreeMap<DatabaseId, Tally> {
        &self.retired
    }

    #[must_use]
    pub fn hits(&self) -> &StoredHits {
        &self.hits
    }

    pub fn hits_mut(&mut self) -> &mut StoredHits {
        &mut self.hits
    }

    #[must_use]
    pub fn clock_mark(&self) -> Option<Timestamp> {
        self.clock_mark
    }

    /// The time of `detach`; `None` while attached.
    #[must_use]
    pub fn detached(&self) -> Option<Timestamp> {
        self.detached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Limits, read_database};
    use crate::sync::FileBytes;

    fn candidate(id: &str) -> Candidate {
        let text = format!(
            "schema_version: 1\ndatabase_id: {id}\nrevision: 7\ngenerated_at: 2026-08-21T15:27:32Z\n\
             endpoints: [{{port: 5432, address: 192.0.2.1}}]\nrules: []\n...\n"
        );
        let limits = Limits { max_rules: 30, allow_monitor: true, node_name: None };
        let rules = read_database(text.as_bytes(), &limits).unwrap().value;
        Candidate { path: "a.yaml".into(), rules: rules.into(), bytes: FileBytes::default() }
    }

    #[test]
    fn database_refused_after_boot_retains_priority_over_new_ones() {
        for (refused_writes, remaining) in [(true, vec!["accepted"]), (false, vec![])] {
            let (mut persisted, mut changes) = (PersistedState::default(), Changes::default());
            for id in ["accepted", "other"] {
                persisted.load(Record::InForce(id.parse().unwrap(), InForce::complete(7)));
            }
            let accepted = BTreeMap::from([("accepted".parse().unwrap(), candidate("accepted"))]);
            let published = Published { refused_writes, ..Published::default() };
            persisted.record_in_force(&Live::default(), &accepted, &published, &mut changes);
            assert_eq!(persisted.in_force().keys().map(DatabaseId::as_str).collect::<Vec<_>>(), remaining);
            assert_eq!(changes.iter().count(), 2 - remaining.len());
        }
    }
}
