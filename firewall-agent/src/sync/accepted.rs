//! Accepted files: the newest rule file of each database that passed admission, and the managed ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tracing::info;

use super::accepted_ranges::AcceptedRanges;
use super::admit::{Candidate, FileBytes};
use super::blocked_ranges::{BlockedRanges, blocked_ranges_from_kernel};
use super::compiled::CompiledFiles;
use super::contended::withdraw_contended;
use super::desired::Desired;
use super::in_force::RulesInForce;
use super::model::{Guards, Live};
use super::persisted::PersistedState;
use super::ranges_from_kernel::ranges_from_kernel;
use super::record::{Changes, Key, Presence, Record, StoredFile};
use crate::rules::{
    Cause, DatabaseId, DatabaseRules, Limits, ManagedRanges, Mode, RangeId, RangesKind, Rejection, State,
    read_database,
};

/// The accepted files of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptedFiles {
    files: BTreeMap<DatabaseId, Candidate>,
    compiled: CompiledFiles,
    managed: AcceptedRanges,
    blocked: AcceptedRanges,
    /// The blocked ranges in force, compiled.
    block_list: Arc<BlockedRanges>,
}

/// Limits for stored files, which were checked at admission: current limits and an unset host name do not apply.
fn stored_limits() -> Limits {
    Limits { max_rules: usize::MAX, allow_monitor: true, node_name: None }
}

impl AcceptedFiles {
    /// No accepted files; the managed and the blocked ranges are those of the kernel.
    #[must_use]
    pub fn new(live: &Live) -> Self {
        let blocked = blocked_ranges_from_kernel(live);
        Self {
            files: BTreeMap::new(),
            compiled: CompiledFiles::default(),
            managed: AcceptedRanges::new(ranges_from_kernel(live)),
            block_list: Arc::new(BlockedRanges::new(&blocked)),
            blocked: AcceptedRanges::new(blocked),
        }
    }

    /// Loads a stored rule file or stored ranges. Skips a file below the floor of its database, or, after a `rebase`,
    /// below the live revision: the kernel then has a newer revision with a file that could not be stored.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn load(
        &mut self,
        record: Record,
        persisted: &PersistedState,
        live: &Live,
        changes: &mut Changes,
    ) -> Result<(), String> {
        match record {
            Record::File(id, file) => {
                let candidate =
                    parse(&file).map_err(|errors| format!("stored file of database {id}: {errors}"))?;
                let live_floor =
                    || live.databases.values().find(|one| one.id == id).map_or(0, |one| one.floor);
                let floor = Some(persisted.floor(&id)).filter(|floor| *floor > 0).unwrap_or_else(live_floor);
                if candidate.rules.revision >= floor {
                    self.files.insert(id, candidate);
                } else {
                    info!(database = %id, revision = candidate.rules.revision, "stored file skipped, older than the revision in the kernel");
                    // No later `rebase` brings it back.
                    changes.remove(Key::File(id));
                }
            }
            Record::Ranges(kind, stored) => {
                let loaded = self.ranges_mut(kind).load(stored);
                loaded.map_err(|error| format!("stored {}: {error}", kind.name()))?;
                if kind == RangesKind::Blocked {
                    self.block_list = Arc::new(BlockedRanges::new(self.blocked.effective()));
                }
            }
            Record::Claim(..)
            | Record::Floor(..)
            | Record::InForce(..)
            | Record::Retired(..)
            | Record::Hits(..)
            | Record::CountersOf(_)
            | Record::ClockMark(_)
            | Record::Detached(_)
            | Record::RangeNotice(..)
            | Record::Overlay(_) => {}
        }
        Ok(())
    }

    /// Returns `true` if no accepted file or ranges match this key although they should: a removed or forgotten
    /// database needs none.
    #[must_use]
    pub fn lacks(&self, key: &Key, persisted: &PersistedState) -> bool {
        match key {
            Key::File(id) => {
                let has_left =
                    matches!(persisted.presence(id), Some(Presence::Removed | Presence::Forgotten));
                !self.files.contains_key(id) && !has_left
            }
            Key::Ranges(RangesKind::Managed) => !self.managed.has_file(),
            Key::Ranges(RangesKind::Blocked) => !self.blocked.has_file(),
            Key::Claim(_)
            | Key::Floor(_)
            | Key::InForce(_)
            | Key::Retired(_)
            | Key::Hits(_)
            | Key::CountersOf
            | Key::ClockMark
            | Key::Detached
            | Key::RangeNotice(_)
            | Key::Overlay(_) => false,
        }
    }

    /// Makes an admitted file the accepted one of its database, and records it in `persisted`.
    pub fn accept(
        &mut self,
        candidate: Candidate,
        persisted: &mut PersistedState,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let id = candidate.rules.id.clone();
        let before = self.files.get(&id);
        let has_new_rules = self.has_new_rules(&candidate, persisted);
        if !has_new_rules && before.is_none_or(|before| *before == candidate) {
            return;
        }
        // Rewritten or renamed with the same rules: no new revision to record.
        if has_new_rules {
            if let Some(before) = before {
                self.store_rules(before, persisted, now, changes);
            }
            persisted.accept(&candidate.rules, changes);
        }
        match candidate.rules.state {
            State::Active => {
                changes.put(Record::File(id.clone(), StoredFile::from(&candidate)));
                self.files.insert(id, candidate);
            }
            State::Removed => self.drop_file(&id, changes),
        }
    }

    /// Returns `true` if an admitted file has other rules than the accepted one of its database.
    #[must_use]
    pub fn has_new_rules(&self, candidate: &Candidate, persisted: &PersistedState) -> bool {
        let Candidate { rules, .. } = candidate;
        let is_gone = rules.state == State::Removed
            && persisted.presence(&rules.id) == Some(Presence::Removed)
            && persisted.floor(&rules.id) == rules.revision;
        self.files.get(&rules.id).map_or(!is_gone, |before| before.rules != *rules)
    }

    /// Drops the file of a database.
    pub fn drop_file(&mut self, id: &DatabaseId, changes: &mut Changes) {
        changes.remove(Key::File(id.clone()));
        self.files.remove(id);
        self.compiled.discard(id);
    }

    /// Stores the rules that a file has in force: the file, or the ranges that it uses, are about to be replaced.
    fn store_rules(
        &self,
        candidate: &Candidate,
        persisted: &mut PersistedState,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let rules = || RulesInForce::of_desired(&self.compiled.of(candidate, self.managed.effective(), now));
        persisted.replace(&candidate.rules.id, candidate.rules.revision, rules, changes);
    }

    /// Accepts a new file of managed ranges, except the ranges that the shrink guard retains. Returns the reasons for
    /// rejecting the file or single ranges.
    pub fn accept_ranges(
        &mut self,
        new: ManagedRanges,
        file: StoredFile,
        persisted: &mut PersistedState,
        now: Timestamp,
        changes: &mut Changes,
    ) -> Vec<Rejection> {
        let admitted = match self.managed.admit(new, &self.used_ranges()) {
            Ok(admitted) => admitted,
            Err(rejection) => return vec![rejection],
        };
        let rejections = admitted.guarded.rejections().collect();
        if self.managed.is_changed_by(&admitted) {
            let (before, now_accepted) = (&self.managed.effective().ranges, &admitted.guarded.ranges.ranges);
            let is_replaced = |id| before.get(id) != now_accepted.get(id);
            for candidate in self.files.values() {
                if candidate.rules.ranges().any(is_replaced) {
                    self.store_rules(candidate, persisted, now, changes);
                }
            }
            if admitted.is_new {
                persisted.set_range_notices(admitted.guarded.notices.clone(), changes);
            }
            let stored = self.managed.accept(admitted, file);
            changes.put(Record::Ranges(RangesKind::Managed, stored));
        }
        rejections
    }

    /// Accepts a new file of blocked ranges with at most `most` prefixes, except the ranges that the shrink guard
    /// retains: a block must not vanish by mistake. Returns the reasons for rejecting the file or single ranges.
    pub fn accept_blocked(
        &mut self,
        new: ManagedRanges,
        file: StoredFile,
        most: usize,
        changes: &mut Changes,
    ) -> Vec<Rejection> {
        let prefixes: usize = new.ranges.values().map(|range| range.cidrs.len()).sum();
        if prefixes > most {
            let message = format!("{prefixes} prefixes: max_prefixes admits at most {most}");
            return vec![Rejection::named(Cause::NotPermitted, message)];
        }
        let in_force = self.blocked.effective().ranges.keys().cloned().collect();
        let admitted = match self.blocked.admit(new, &in_force) {
            Ok(admitted) => admitted,
            Err(rejection) => return vec![rejection],
        };
        let rejections = admitted.guarded.rejections().collect();
        if self.blocked.is_changed_by(&admitted) {
            let stored = self.blocked.accept(admitted, file);
            self.block_list = Arc::new(BlockedRanges::new(self.blocked.effective()));
            changes.put(Record::Ranges(RangesKind::Blocked, stored));
        }
        rejections
    }

    /// The state that these files desire at `now`.
    #[must_use]
    pub fn desired(
        &self,
        persisted: &PersistedState,
        live: &Live,
        guarded: Guards,
        monitor: bool,
        now: Timestamp,
    ) -> Desired {
        let mut desired = Desired { guarded, monitor, ..Desired::default() };
        for candidate in self.files.values() {
            let compiled = || self.compiled.of(candidate, self.managed.effective(), now);
            desired.add_compiled(&candidate.rules, compiled);
        }
        if !monitor {
            let monitored = desired.databases.values_mut().filter(|database| database.mode == Mode::Monitor);
            monitored.for_each(|database| Arc::make_mut(database).mode = Mode::Enforce);
        }
        let leaving = live.databases.values().map(|database| &database.id);
        desired.removed = leaving.filter(|id| self.is_gone(id, persisted)).cloned().collect();
        desired.closed.clone_from(persisted.claims());
        let in_force = persisted.in_force().iter().filter(|(_, in_force)| in_force.rules.is_none());
        desired.first = in_force.map(|(id, _)| id.clone()).collect();
        desired.blocked_ranges = Arc::clone(&self.block_list);
        persisted.overlay().apply(&mut desired, now);
        withdraw_contended(&mut desired);
        desired
    }

    fn is_gone(&self, id: &DatabaseId, persisted: &PersistedState) -> bool {
        !self.files.contains_key(id)
            && matches!(persisted.presence(id), Some(Presence::Removed | Presence::Forgotten))
    }

    /// Time at which the next rule expires.
    #[must_use]
    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        let rules = self.files.values().flat_map(|candidate| &candidate.rules.rules);
        rules.filter_map(|rule| rule.expires_at).filter(|at| *at > now).min()
    }

    /// Times at which the accepted files were generated.
    pub fn generated_at(&self) -> impl Iterator<Item = Timestamp> {
        let files = self.files.values().map(|candidate| candidate.rules.generated_at);
        files.chain([self.managed.effective().generated_at, self.blocked.effective().generated_at])
    }

    /// Accepted rule files, by database.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<DatabaseId, Candidate> {
        &self.files
    }

    /// The database whose accepted file has this path; `None` if there are several, or none.
    #[must_use]
    pub fn database_at(&self, path: &Path) -> Option<&DatabaseId> {
        let mut owners = self.files.iter().filter(|(_, candidate)| candidate.path == path);
        let (id, _) = owners.next()?;
        owners.next().is_none().then_some(id)
    }

    /// The managed ranges in force.
    #[must_use]
    pub fn ranges(&self) -> &ManagedRanges {
        self.managed.effective()
    }

    /// The blocked ranges in force.
    #[must_use]
    pub fn blocked(&self) -> &ManagedRanges {
        self.blocked.effective()
    }

    /// The managed or the blocked ranges in force.
    #[must_use]
    pub fn ranges_of(&self, kind: RangesKind) -> &ManagedRanges {
        match kind {
            RangesKind::Managed => self.ranges(),
            RangesKind::Blocked => self.blocked(),
        }
    }

    fn ranges_mut(&mut self, kind: RangesKind) -> &mut AcceptedRanges {
        match kind {
            RangesKind::Managed => &mut self.managed,
            RangesKind::Blocked => &mut self.blocked,
        }
    }

    fn used_ranges(&self) -> BTreeSet<RangeId> {
        self.files.values().flat_map(|candidate| candidate.rules.ranges()).cloned().collect()
    }
}

/// Reads a stored rule file.
///
/// # Errors
/// Everything that is wrong with it, in one line.
pub fn parse(file: &StoredFile) -> Result<Candidate, String> {
    let checked = read_database(&file.content, &stored_limits()).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        errors.join("; ")
    })?;
    let rules: Arc<DatabaseRules> = Arc::new(checked.value);
    Ok(Candidate { path: file.path.clone(), rules, bytes: FileBytes::from(file) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{CounterId, Database, DatabaseSlot, InForce};

    /// A publish may precede its commit: after a kill the kernel has a newer revision than the store.
    #[test]
    fn stored_file_older_than_the_kernel_is_skipped() {
        let id: DatabaseId = "a".parse().unwrap();
        let text = "schema_version: 1\ndatabase_id: a\nrevision: 7\ngenerated_at: 2026-08-21T15:27:32Z\n\
                    endpoints: [{port: 5432}]\nrules: []\n...\n";
        // The control: the kernel has the stored revision.
        for (floor, is_loaded) in [(7, true), (8, false)] {
            let database = Database {
                id: id.clone(),
                name: String::new(),
                default_counter: CounterId(1),
                floor,
                stamp: None,
                sources: Arc::default(),
            };
            let live = Live { databases: BTreeMap::from([(DatabaseSlot(0), database)]), ..Live::default() };
            let file = StoredFile { path: "a.yaml".into(), signature: None, content: text.as_bytes().into() };
            let (mut accepted, mut changes) = (AcceptedFiles::new(&live), Changes::default());
            let record = Record::File(id.clone(), file);
            accepted.load(record, &PersistedState::default(), &live, &mut changes).unwrap();
            assert_eq!(accepted.files().contains_key(&id), is_loaded, "{floor}");
            assert_eq!(changes.is_empty(), is_loaded, "{floor}: no later start finds it");
        }
    }

    /// Older rules may have been in force with less capacity than their database needs now.
    #[test]
    fn databases_with_their_accepted_rules_in_force_get_room_first() {
        let id = |text: &str| text.parse::<DatabaseId>().unwrap();
        let mut persisted = PersistedState::default();
        persisted.load(Record::InForce(id("accepted"), InForce::complete(7)));
        persisted.load(Record::InForce(id("older"), InForce::with(6, RulesInForce::default())));
        let (live, now) = (Live::default(), Timestamp::UNIX_EPOCH);
        let desired = AcceptedFiles::new(&live).desired(&persisted, &live, Guards::default(), false, now);
        assert_eq!(desired.first, BTreeSet::from([id("accepted")]));
    }

    #[test]
    fn unreadable_stored_file_is_missing_until_replaced_or_removed() {
        let id: DatabaseId = "a".parse().unwrap();
        let (mut persisted, mut changes) = (PersistedState::default(), Changes::default());
        let live = Live::default();
        let mut accepted = AcceptedFiles::new(&live);
        let file = |content: &str| StoredFile {
            path: "a.yaml".into(),
            signature: None,
            content: content.as_bytes().into(),
        };
        let error = accepted.load(Record::File(id.clone(), file("x")), &persisted, &live, &mut changes);
        assert!(error.unwrap_err().starts_with("stored file of database a: "));
        let key = Key::File(id.clone());
        assert!(accepted.lacks(&key, &persisted));
        let text = "schema_version: 1\ndatabase_id: a\nrevision: 7\ngenerated_at: 2026-08-21T15:27:32Z\n\
                    endpoints: [{port: 5432, address: 192.0.2.1}]\nrules: []\n...\n";
        accepted.accept(parse(&file(text)).unwrap(), &mut persisted, Timestamp::UNIX_EPOCH, &mut changes);
        assert!(!accepted.lacks(&key, &persisted));
        accepted.drop_file(&id, &mut changes);
        assert!(accepted.lacks(&key, &persisted), "the control: it is active, and has no file");
        persisted.forget(&id, &mut changes);
        assert!(!accepted.lacks(&key, &persisted));
        assert!(accepted.lacks(&Key::Ranges(RangesKind::Managed), &persisted));
    }
}
