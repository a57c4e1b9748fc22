//! One reconcile pass: from the pushed files to the kernel and the store.
//!
//! Steps, and the state after a crash in each:
//!
//! 1. *Accept.* Files that pass admission replace the accepted ones, in memory.
//! 2. *Commit what closes.* One transaction: the accepted files, the claims of every destination that they name, their
//!    revision floors, the clock mark. A crash here leaves the kernel unchanged; the next start publishes the files.
//! 3. *Publish.* The kernel closes before it opens. A destination whose claim is not durable stays closed; nothing else
//!    waits for the disk. A crash here leaves each database at its old or its new rules, or closed.
//! 4. *Commit what opens.* Destinations that an operator released, revisions that came into force, counts of retired
//!    counters and new rules. A crash before it leaves a later boot more closed, never more open.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_common::Tally;
use jiff::{SignedDuration, Timestamp};

use super::backoff::Backoff;
use super::clock::clock_at;
use super::file_report::{FileReport, ParsedFiles, RangesPaths};
use super::hit_reading::HitReading;
use super::load_state::Unused;
use super::read_back::ReadBack;
use super::session_reset::AccessChange;
use super::status_reporter::{StatusReporter, Undurable};
use crate::bpf::Kernel;
use crate::config::Config;
use crate::files::scan::ScannedFiles;
use crate::files::store_writer::StoreWriter;
use crate::host::clock::Moment;
use crate::rules::{DatabaseId, Limits, RangesKind};
use crate::status::Condition;
use crate::sync::{
    AcceptedFiles, Admission, Candidate, Capacity, Changes, Clock, DatabaseSlot, Desired, Destination,
    FreedCounter, Guards, Key, Live, PersistedState, Presence, Published, SessionJudge, StateStore, admit,
    destinations, publish, restored,
};

/// Longest wait of the daemon for the store before a publish.
const STORE_PATIENCE: Duration = Duration::from_millis(100);
/// Longest wait of a verb for the store.
pub(super) const VERB_PATIENCE: Duration = Duration::from_secs(20);
/// Longest age of the stored clock mark.
const STORE_CLOCK: SignedDuration = SignedDuration::from_mins(1);

/// The state of one host, and every change to it. Shared by the daemon and the verbs.
#[derive(Debug)]
pub struct Reconciler<D = Kernel, S = StoreWriter> {
    pub(super) data_plane: D,
    /// The complete live state.
    pub(super) live: Live,
    pub(super) accepted: AcceptedFiles,
    pub(super) persisted: PersistedState,
    /// Stored records that could not be read at the start.
    pub(super) unused: Unused,
    pub(super) store: S,
    pub(super) clock: Clock,
    /// The wall clock was synchronised at the last tick.
    pub(super) synchronised: bool,
    pub(super) settings: Settings,
    /// Another map layout is in force: no counter and no slot is freed.
    pub(super) frees_nothing: bool,
    /// The files of the last pass.
    parsed: ParsedFiles,
    /// The next snapshot is judged even if its files are unchanged.
    rereads: bool,
    /// Admission refused a file because of another database's endpoint.
    has_refused: bool,
    /// The endpoint table has changed since such a refusal: the next scan may admit the file.
    pub(super) wants_files: bool,
    /// The next pass publishes even without changes.
    is_forced: bool,
    /// A write was refused: the kernel may differ from `live`.
    pub(super) is_uncertain: bool,
    retry: Backoff<Duration>,
    /// Changes that the judge of open sessions has not seen.
    access_change: AccessChange,
    pub(super) store_patience: Duration,
    /// A verb waits for the store itself; the daemon replies once the store has caught up.
    pub(super) waits_for_store: bool,
    /// Destinations that wait for the store.
    pub(super) withheld: BTreeSet<Destination>,
    pub(super) next_expiry: Option<Timestamp>,
    /// Time of the last publish. The clock may have gone back since: from a provisional first time, or lowered by an
    /// operator.
    published_at: Timestamp,
    /// Time since boot at the last clock tick.
    ticked: Duration,
    pub(super) hit_reading: HitReading,
}

/// Configuration of a reconcile pass.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub managed_ranges: PathBuf,
    /// Empty for none.
    pub blocked_ranges: PathBuf,
    pub limits: Limits,
    pub guarded: Guards,
    pub judges_sockets: bool,
    pub capacity: Capacity,
}

impl Settings {
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self {
            managed_ranges: config.managed_ranges.clone(),
            blocked_ranges: config.blocked_ranges.clone().unwrap_or_default(),
            limits: config.limits(),
            guarded: Guards::from(&config.guarded_ports),
            judges_sockets: config.socket_filter.is_on(),
            capacity: Capacity {
                endpoints: usize::try_from(config.max_endpoints)?,
                prefixes: usize::try_from(config.max_prefixes)?,
                memory: u64::MAX,
            },
        })
    }
}

impl Settings {
    fn ranges_paths(&self) -> RangesPaths<'_> {
        RangesPaths { managed: &self.managed_ranges, blocked: &self.blocked_ranges }
    }
}

impl<D: ReadBack, S: StateStore> Reconciler<D, S> {
    /// Starts from the state of the kernel and the store.
    pub(super) fn new(
        settings: Settings,
        data_plane: D,
        live: Live,
        (accepted, persisted): (AcceptedFiles, PersistedState),
        store: S,
        moment: Moment,
    ) -> Self {
        let clock = clock_at(&accepted, &persisted, moment);
        Self {
            data_plane,
            live,
            accepted,
            persisted,
            unused: Unused::new(),
            store,
            clock,
            synchronised: moment.synchronised,
            settings,
            frees_nothing: false,
            parsed: ParsedFiles::default(),
            rereads: true,
            has_refused: false,
            wants_files: false,
            is_forced: true,
            is_uncertain: false,
            retry: Backoff::default(),
            access_change: AccessChange::default(),
            store_patience: STORE_PATIENCE,
            waits_for_store: false,
            withheld: BTreeSet::new(),
            next_expiry: None,
            published_at: Timestamp::MIN,
            ticked: moment.uptime,
            hit_reading: HitReading::default(),
        }
    }

    /// Publishes and stores the accepted files. Without a snapshot, works on the files accepted before: time has
    /// passed, the store has caught up, or a refused write is retried. Returns the slots of the databases now in force
    /// at a new generation.
    pub(super) fn reconcile(
        &mut self,
        read: Option<&ScannedFiles>,
        moment: Moment,
        reporter: &mut StatusReporter,
    ) -> Vec<DatabaseSlot> {
        let now = self.tick(moment);
        let read = read.map(|snapshot| (snapshot, snapshot.marks()));
        let read = read.filter(|(_, marks)| self.rereads || !self.parsed.are(marks));
        if read.is_none() && !self.is_due(now, moment) {
            return Vec::new();
        }
        let mut changes = Changes::default();
        let now = match read {
            Some((snapshot, marks)) => {
                // The thread that read the files has verified their signatures.
                let (paths, limits) = (self.settings.ranges_paths(), &self.settings.limits);
                let in_force = |kind| self.accepted.ranges_of(kind);
                let mut parsed = std::mem::take(&mut self.parsed);
                let files = parsed.parse((snapshot, marks), paths, limits, in_force);
                let admission = self.admit(files);
                self.has_refused = !admission.refused.is_empty();
                reporter.files(snapshot, files, &admission.refused);
                for file in admission.admitted.into_values() {
                    if self.accepted.has_new_rules(&file, &self.persisted) {
                        reporter.accepted(&file);
                    }
                    self.accepted.accept(file, &mut self.persisted, now, &mut changes);
                }
                for (kind, ranges, file) in files.iter().filter_map(FileReport::ranges) {
                    let path = file.path.clone();
                    let before = self.accepted.ranges_of(kind);
                    let before = (ranges.revision != before.revision).then(|| before.clone());
                    let refused = match kind {
                        RangesKind::Managed => {
                            self.accepted.accept_ranges(ranges, file, &mut self.persisted, now, &mut changes)
                        }
                        RangesKind::Blocked => {
                            let most = self.settings.capacity.prefixes;
                            self.accepted.accept_blocked(ranges, file, most, &mut changes)
                        }
                    };
                    reporter.ranges_refused(kind, &path, refused);
                    if let Some(before) = before {
                        reporter.ranges_accepted(kind, &before, self.accepted.ranges_of(kind));
                    }
                }
                reporter.detected(self.accepted.files(), moment.wall);
                self.parsed = parsed;
                self.rereads = false;
                self.is_forced = true;
                self.accepted.generated_at().for_each(|generated_at| self.clock.confirm(generated_at));
                self.tick(moment)
            }
            None => now,
        };
        // After the files: a permission that is over ends only with a file of its database.
        self.expire_overlay(now, &mut changes);

        self.commit_closes(now, changes);

        if let Err(error) = self.read_back() {
            self.retry.failed(moment.uptime);
            self.is_forced = false;
            reporter.conditions.set(Condition::ReadBack, Some(format!("{error:#}")));
            return Vec::new();
        }
        reporter.conditions.set(Condition::ReadBack, None);
        let prefixes = self.live.prefixes();
        let (desired, published) = self.put_in_force(BTreeSet::new(), now);
        reporter.conditions.replace(Condition::Claim, desired.contentions());
        reporter.published(&published, &desired, &self.accepted, &self.live);
        reporter.counters(&self.live, &self.persisted);
        if self.has_refused && published.replaced_table {
            (self.wants_files, self.rereads) = (true, true);
        }
        self.finish(&desired, moment, now);
        // Freed memory, also of a database that does not fit itself, may suffice now: for a database, or for a block list,
        // whose lack of memory is an error.
        let has_waiting = !published.crowded.is_empty() || !published.errors.is_empty();
        self.is_forced = has_waiting && self.live.prefixes() < prefixes;
        published.applied.keys().filter_map(|id| self.live.slot(id)).collect()
    }

    /// Admits the valid rule files.
    pub(super) fn admit(&mut self, files: &[FileReport]) -> Admission {
        let candidates: Vec<Candidate> = files.iter().filter_map(FileReport::candidate).collect();
        admit(candidates, self.accepted.files(), &self.persisted, &self.live)
    }

    /// The state that the accepted files desire at `now`.
    pub(super) fn resolve(&self, now: Timestamp) -> Desired {
        let Settings { guarded, limits, .. } = &self.settings;
        let desired =
            self.accepted.desired(&self.persisted, &self.live, guarded.clone(), limits.allow_monitor, now);
        Desired {
            judges_sockets: self.settings.judges_sockets,
            limits: self.limits(),
            frees_nothing: self.frees_nothing,
            ..desired
        }
    }

    /// Limits of the next publish, with the memory available now.
    fn limits(&self) -> Capacity {
        Capacity { memory: self.data_plane.memory_left(), ..self.settings.capacity }
    }

    /// Waits longer for the disk from now on, also after each verb.
    pub fn wait_for_disk(&mut self) {
        (self.store_patience, self.waits_for_store) = (VERB_PATIENCE, true);
    }

    /// Publishes the accepted files, and commits what opens. Removes the tombstones at `opened`.
    pub(super) fn put_in_force(
        &mut self,
        opened: BTreeSet<Destination>,
        now: Timestamp,
    ) -> (Desired, Published) {
        let mut desired = Desired { opened, ..self.resolve(now) };
        desired.withheld = self.undurable_claims(&desired);
        let mut published = Published::default();
        if let Some(before) = restored(&desired, &self.persisted, &self.live, &self.data_plane) {
            published = publish(&before, &mut self.live, &mut self.data_plane, now);
            self.is_uncertain |= published.refused_writes;
            // The first publish may have used memory.
            desired.limits = self.limits();
        }
        if let Err(error) = self.read_back() {
            published.errors.push(error);
        } else {
            let wanted = publish(&desired, &mut self.live, &mut self.data_plane, now);
            published = published.followed_by(wanted);
        }
        self.is_uncertain = published.refused_writes;
        // A refused write may have followed others.
        self.access_change.changed |=
            published.replaced_table || !published.applied.is_empty() || published.refused_writes;
        self.access_change.revoked |= published.revoked;
        self.commit_opens(&desired, &published, now);
        (desired, published)
    }

    /// Takes the changes of access since the last call.
    pub(super) fn take_access_change(&mut self) -> AccessChange {
        std::mem::take(&mut self.access_change)
    }

    /// The judge of open sessions by the state in force; `None` while that is unknown, or an operator has detached the
    /// host.
    pub(super) fn session_judge(&self) -> Option<SessionJudge> {
        let is_known = !self.is_uncertain && self.detached().is_none();
        is_known.then(|| SessionJudge::new(&self.live, self.persisted.claims(), &self.withheld))
    }

    /// Commits the accepted files with their claims and floors, and the clock mark where a rule expires. Waits for the
    /// disk only while it is not behind.
    pub(super) fn commit_closes(&mut self, now: Timestamp, mut changes: Changes) {
        let stored = self.persisted.clock_mark().unwrap_or(Timestamp::MIN);
        if let Some(mark) = self.clock.mark()
            && self.accepted.next_expiry(stored).is_some_and(|at| at <= now)
        {
            self.persisted.set_clock_mark(mark, &mut changes);
        }
        self.store.submit(changes);
        if !self.store.is_behind() {
            self.store.flush(self.store_patience);
        }
    }

    /// Desired destinations without a durable claim of their own. A durable claim of every address covers each of them.
    fn undurable_claims(&mut self, desired: &Desired) -> BTreeSet<Destination> {
        if self.store.flush(Duration::ZERO) {
            return BTreeSet::new();
        }
        let is_pending = |to: Destination| self.store.is_pending(&Key::Claim(to));
        let is_durable = |to: Destination| self.persisted.is_claimed(&to) && !is_pending(to);
        let destinations = desired.databases.values().flat_map(|database| &database.destinations).copied();
        destinations.filter(|to| is_pending(*to) && !is_durable(to.everywhere())).collect()
    }

    /// Commits released destinations, revisions that came into force, and counts of retired counters and new rules.
    fn commit_opens(&mut self, desired: &Desired, published: &Published, now: Timestamp) {
        let mut changes = Changes::default();
        if published.errors.is_empty() {
            self.persisted.release(&desired.opened, &mut changes);
        }
        if !self.frees_nothing {
            // Otherwise another map layout is in force, as recorded before.
            self.persisted.record_in_force(&self.live, self.accepted.files(), published, &mut changes);
        }
        let freed = self.data_plane.take_freed().into_iter();
        let freed =
            freed.filter_map(|(counter, counted)| Some((published.freed.get(&counter)?.clone(), counted)));
        let freed: Vec<(FreedCounter, Tally)> = freed.collect();
        self.persisted.record_hits(&freed, published, &self.live, now, &mut changes);
        self.store.submit(changes);
    }

    fn finish(&mut self, desired: &Desired, moment: Moment, now: Timestamp) {
        self.is_forced = false;
        if self.is_uncertain {
            self.retry.failed(moment.uptime);
        } else {
            self.retry = Backoff::default();
        }
        self.withheld.clone_from(&desired.withheld);
        let expiries = [self.accepted.next_expiry(now), self.persisted.overlay().next_expiry(now)];
        (self.next_expiry, self.published_at) = (expiries.into_iter().flatten().min(), now);
    }

    /// Databases with changes that the store has not made durable.
    pub(super) fn undurable(&mut self) -> Undurable {
        let mut undurable = Undurable::default();
        if self.store.flush(Duration::ZERO) {
            return undurable;
        }
        let (problem, slots) = (self.store.problem(), self.live.slots());
        let cause = problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
        let has_left = |id: &&DatabaseId| self.persisted.presence(id) != Some(Presence::Active);
        for id in self.persisted.databases().into_iter().filter(has_left) {
            if self.store.is_pending(&Key::Floor(id.clone())) {
                let message = format!("removed, but not durable: keep its file{cause}");
                undurable.leaving.insert(id.clone(), message);
            }
        }
        for (id, candidate) in self.accepted.files() {
            let claims = destinations(&candidate.rules);
            // What was open before, as at a restart, stays open.
            let is_open = |to: &Destination| slots.get(id).is_some_and(|slot| self.live.is_open(to, *slot));
            let waiting = claims.intersection(&self.withheld).filter(|to| !is_open(to));
            let waiting: Vec<String> = waiting.map(ToString::to_string).collect();
            if !waiting.is_empty() {
                let message = format!("closed until its claim is stored: {}{cause}", waiting.join(", "));
                undurable.withheld.insert(id.clone(), message);
            }
            if let Some(problem) = &problem
                && self.store.is_pending(&Key::File(id.clone()))
            {
                let message = format!("in force, but not durable: {problem}");
                undurable.unstored.insert(id.clone(), message);
            }
        }
        undurable
    }

    /// Returns `true` when a pass without new files has work to do.
    pub(super) fn is_due(&mut self, now: Timestamp, moment: Moment) -> bool {
        self.is_forced
            || self.next_expiry.is_some_and(|at| at <= now)
            || now < self.published_at
            || self.is_uncertain && self.retry.may_try(moment.uptime)
            || !self.withheld.is_empty() && self.store.flush(Duration::ZERO)
    }

    /// Makes the next pass publish even without changes.
    pub(super) fn force(&mut self) {
        self.is_forced = true;
        self.rereads = true;
    }

    /// Reads the kernel back after a refused write.
    ///
    /// # Errors
    /// The kernel cannot be read.
    pub(super) fn read_back(&mut self) -> Result<()> {
        if self.is_uncertain {
            let live = self.data_plane.live();
            self.live = live.context("cannot read back the kernel's state after a refused write")?;
            self.is_uncertain = false;
        }
        Ok(())
    }

    /// Advances the clock for rule expiry.
    pub(super) fn tick(&mut self, moment: Moment) -> Timestamp {
        let elapsed = SignedDuration::try_from(moment.uptime.saturating_sub(self.ticked)).unwrap_or_default();
        (self.ticked, self.synchronised) = (moment.uptime, moment.synchronised);
        self.clock.tick(moment.wall, elapsed, moment.synchronised)
    }

    /// Time since boot at the last clock tick.
    pub(super) fn ticked(&self) -> Duration {
        self.ticked
    }

    /// Stores the clock mark when the stored one is at least a minute older or the process ends.
    pub(super) fn store_clock(&mut self, ends: bool) {
        let Some(mark) = self.clock.mark() else { return };
        let stored = self.persisted.clock_mark().unwrap_or(Timestamp::MIN);
        if ends || mark.duration_since(stored).abs() >= STORE_CLOCK {
            let mut changes = Changes::default();
            self.persisted.set_clock_mark(mark, &mut changes);
            self.store.submit(changes);
        }
    }

    /// Message about a host without a database; `None` where one exists.
    pub(super) fn no_database(&self) -> Option<String> {
        if !self.live.databases.is_empty() || !self.accepted.files().is_empty() {
            return None;
        }
        Some(match self.persisted.departed() {
            0 => "no database: no rule file was ever accepted".to_owned(),
            departed => format!("no database: all were removed or forgotten, {departed} in total"),
        })
    }

    /// Paths of the accepted rule files.
    pub(super) fn known_files(&self) -> BTreeSet<PathBuf> {
        self.accepted.files().values().map(|candidate| candidate.path.clone()).collect()
    }

    /// Returns `true` for a database known on this host, active or not.
    pub(super) fn knows(&self, id: &DatabaseId) -> bool {
        self.accepted.files().contains_key(id)
            || self.live.slot(id).is_some()
            || self.persisted.presence(id).is_some_and(|presence| presence != Presence::Forgotten)
    }
}
