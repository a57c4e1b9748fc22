//! Status of each database and of the agent: the conditions, `status.json`, the state shared with HTTP and the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tracing::{error, info, warn};

use super::file_report::FileReport;
use crate::config::Config;
use crate::escape::{path_text, write_json};
use crate::files::scan::ScannedFiles;
use crate::files::status_file::StatusFile;
use crate::http::{DatabaseCounters, PublishedState, SharedState};
use crate::rules::{DatabaseId, ManagedRanges, RangeId, RangesKind, Rejection, State};
use crate::status::{
    AgentStatus, Condition, Conditions, DatabaseState, DatabaseStatus, Observed, RejectedFile, Status, event,
};
use crate::sync::{AcceptedFiles, Candidate, Desired, Live, PersistedState, Published, Refusal};
use crate::version::{OBJECT, VERSION};

type Rejections = BTreeMap<PathBuf, Vec<Rejection>>;
type Warnings = BTreeMap<PathBuf, Vec<String>>;

/// Databases with changes that the store has not made durable.
#[derive(Debug, Default)]
pub struct Undurable {
    /// New endpoints that stay closed until their claims are durable.
    pub withheld: BTreeMap<DatabaseId, String>,
    /// Databases in force at a revision that a reboot would lose.
    pub unstored: BTreeMap<DatabaseId, String>,
    /// Databases that have left, and that a restart without their file would bring back.
    pub leaving: BTreeMap<DatabaseId, String>,
}

/// Computes database states, and writes `status.json`.
#[derive(Debug)]
pub struct StatusReporter {
    pub conditions: Conditions,
    file: StatusFile,
    agent: AgentStatus,
    rejected: Rejections,
    warnings: Warnings,
    /// The database of each file that admission refused.
    refused: BTreeMap<PathBuf, DatabaseId>,
    present: BTreeSet<PathBuf>,
    observed: BTreeMap<DatabaseId, Observed>,
    undurable: Undurable,
    /// Time at which each file of the last snapshot became visible.
    visible: BTreeMap<PathBuf, Timestamp>,
    /// The propagation window: promised time from a visible file to its rules in force.
    window: Duration,
    written: Option<Status>,
    /// Rule counters after the last publish, which alone changes them.
    counters: Arc<BTreeMap<String, DatabaseCounters>>,
    shared: Arc<SharedState>,
}

impl StatusReporter {
    /// Starts from the live and accepted revisions: none of them counts as new.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn new(
        config: &Config,
        accepted: &AcceptedFiles,
        live: &Live,
        shared: Arc<SharedState>,
    ) -> Result<Self> {
        let in_force = live.databases.values().map(|database| (database.id.clone(), database.floor));
        let stored = accepted.files().iter().map(|(id, candidate)| (id.clone(), candidate.rules.revision));
        let known = |(id, revision)| (id, Observed { revision, ..Observed::default() });
        Ok(Self {
            conditions: Conditions::default(),
            file: StatusFile::start(config.state_dir.join("status.json"))?,
            agent: AgentStatus {
                running: true,
                pid: std::process::id(),
                version: VERSION.clone(),
                object: OBJECT.to_owned(),
                started_at: Timestamp::now(),
            },
            rejected: Rejections::new(),
            warnings: Warnings::new(),
            refused: BTreeMap::new(),
            present: BTreeSet::new(),
            observed: in_force.chain(stored).map(known).collect(),
            undurable: Undurable::default(),
            visible: BTreeMap::new(),
            window: config.propagation_window,
            written: None,
            counters: Arc::default(),
            shared,
        })
    }

    /// Reports rejections and warnings for the files of a snapshot.
    pub fn files(&mut self, snapshot: &ScannedFiles, reports: &[FileReport], refusals: &[Refusal]) {
        let (mut rejected, mut warnings) = (Rejections::new(), Warnings::new());
        for report in reports {
            if report.is_refused() {
                rejected.insert(report.path.clone(), report.rejections());
            } else if !report.warnings.is_empty() {
                let messages = report.warnings.iter().map(ToString::to_string).collect();
                warnings.insert(report.path.clone(), messages);
            }
        }
        self.refused.clear();
        for refusal in refusals {
            rejected.entry(refusal.path.clone()).or_default().push(refusal.reason.clone());
            self.refused.insert(refusal.path.clone(), refusal.database.clone());
        }
        for (path, Rejection { cause, message }) in changed(&rejected, &self.rejected) {
            error!(
                file = path_text(path),
                cause = cause.name(),
                error = message,
                event = event::REJECTED,
                "rule file rejected, previous revision stays in force"
            );
        }
        for (path, message) in changed(&warnings, &self.warnings) {
            warn!(file = path_text(path), warning = message, "rule file accepted with a warning");
        }
        self.conditions.set(Condition::RulesDirectory, snapshot.unlisted.clone());
        self.conditions.set(Condition::IgnoredFiles, snapshot.ignored.message());
        self.present = snapshot.rules.keys().cloned().collect();
        self.visible = snapshot.rules.iter().map(|(path, seen)| (path.clone(), seen.visible_at)).collect();
        (self.rejected, self.warnings) = (rejected, warnings);
    }

    /// Reports an accepted file with new rules.
    pub fn accepted(&self, candidate: &Candidate) {
        let Candidate { path, rules, .. } = candidate;
        info!(
            database = %rules.id,
            revision = rules.revision,
            file = path_text(path),
            event = event::ACCEPTED,
            "rule file accepted"
        );
    }

    /// Reports the managed ranges whose prefixes differ from those before.
    pub fn ranges_accepted(&self, kind: RangesKind, before: &ManagedRanges, now: &ManagedRanges) {
        for (range, (added, removed)) in now.changes(before) {
            let (revision, prefixes) =
                (now.revision, now.ranges.get(&range).map_or(0, |one| one.cidrs.len()));
            match kind {
                RangesKind::Managed => {
                    info!(%range, revision, prefixes, added, removed, event = event::RANGE, "managed range changed");
                }
                RangesKind::Blocked => {
                    info!(%range, revision, prefixes, added, removed, event = event::RANGE, "blocked range changed");
                }
            }
        }
    }

    /// Reports rejections of a file of ranges, or of some of its ranges.
    pub fn ranges_refused(&mut self, kind: RangesKind, path: &Path, rejections: Vec<Rejection>) {
        if rejections.is_empty() {
            return;
        }
        for Rejection { cause, message } in &rejections {
            error!(
                file = path_text(path),
                cause = cause.name(),
                error = message,
                event = event::REJECTED,
                "{} rejected, previous lists stay in force",
                kind.name()
            );
        }
        self.rejected.entry(path.to_owned()).or_default().extend(rejections);
    }

    /// Starts the wait of each accepted revision that is not in force yet.
    pub fn detected(&mut self, accepted: &BTreeMap<DatabaseId, Candidate>, seen: Timestamp) {
        for (id, candidate) in accepted {
            if candidate.rules.state == State::Removed {
                continue;
            }
            let observed = self.observed.entry(id.clone()).or_default();
            if candidate.rules.revision > observed.revision && !observed.waiting {
                observed.detected_at = Some(seen);
                observed.waiting = true;
            }
        }
    }

    /// Reports the results of a publish, and drops the records of databases that are neither accepted nor in force.
    pub fn published(
        &mut self,
        published: &Published,
        desired: &Desired,
        accepted: &AcceptedFiles,
        live: &Live,
    ) {
        let done = Timestamp::now();
        for (id, stamp) in &published.applied {
            let observed = self.observed.entry(id.clone()).or_default();
            observed.waiting = false;
            // A replay after a restart, or a change by time or range alone, is no new revision.
            if let Some(candidate) =
                accepted.files().get(id).filter(|candidate| candidate.rules.revision > observed.revision)
            {
                let visible = self.visible.get(&candidate.path).copied().unwrap_or(done);
                let apply_ms = u64::try_from(milliseconds(visible, done)).unwrap_or(0);
                // An older file waited for this agent, not for its control plane.
                let generated = candidate.rules.generated_at;
                let propagation_ms = (generated.as_second() >= self.agent.started_at.as_second())
                    .then(|| milliseconds(generated, done));
                (observed.apply_ms, observed.propagation_ms) = (Some(apply_ms), propagation_ms);
                self.shared.in_force(apply_ms, propagation_ms);
            }
            observed.revision = stamp.revision;
            let (apply_ms, generation) = (observed.apply_ms, stamp.generation);
            info!(
                database = %id,
                revision = stamp.revision,
                generation,
                apply_ms,
                event = event::IN_FORCE,
                "revision in force"
            );
        }
        let in_force = live.slots();
        self.observed.retain(|id, _| desired.databases.contains_key(id) || in_force.contains_key(id));
        for id in &published.removed {
            info!(database = %id, event = event::REMOVED, "database removed, its endpoints stay closed");
        }
        let unresolved = desired.unresolved();
        for id in desired.databases.keys() {
            let unresolved = unresolved.get(id).map(|ranges| {
                let ranges: Vec<&str> = ranges.iter().map(RangeId::as_str).collect();
                format!("managed range not found: {}", ranges.join(", "))
            });
            let uncounted = published.uncounted.get(id).map(|rules| {
                format!("{rules} rules are counted on the default counter: max_rule_counters are in use")
            });
            let failed = published.failed.get(id).map(|error| format!("{error:#}"));
            let problem = failed.or(unresolved).or(uncounted);
            let observed = self.observed.entry(id.clone()).or_default();
            if let Some(problem) = &problem
                && observed.problem.as_ref() != Some(problem)
            {
                warn!(database = %id, problem, "database degraded");
            }
            observed.state = if problem.is_some() { DatabaseState::Degraded } else { DatabaseState::Applied };
            observed.problem = problem;
        }
        let failed = published.failed.iter();
        let failed = failed.map(|(id, error)| (id.to_string(), format!("database {id}: {error:#}")));
        self.conditions.replace(Condition::Database, failed);
        let errors: Vec<String> = published.errors.iter().map(|error| format!("{error:#}")).collect();
        self.conditions.set(Condition::Publish, (!errors.is_empty()).then(|| errors.join("; ")));
    }

    /// Takes over the rule counters after a publish.
    pub fn counters(&mut self, live: &Live, persisted: &PersistedState) {
        let mut counters = DatabaseCounters::of(live);
        for (database, retired) in persisted.retired() {
            if let Some(counters) = counters.get_mut(database.as_str()) {
                counters.retired = *retired;
            }
        }
        self.counters = Arc::new(counters);
    }

    /// Writes `status.json` when it has changed, and posts it for HTTP.
    pub fn write(&mut self, mut status: Status, live: &Live, accepted: &AcceptedFiles) {
        self.conditions.set(Condition::Kernel, None);
        self.report_late();
        self.conditions.set(Condition::StatusFile, self.file.problem());
        self.conditions.replace(Condition::Listener, self.shared.unbound());
        status.agent = Some(self.agent.clone());
        let rejected = self.rejected.iter().map(|(path, rejections)| {
            let database = self.refused.get(path).or_else(|| accepted.database_at(path));
            RejectedFile::new(path, database, rejections)
        });
        status.rejected_files = rejected.collect();
        status.observe(&self.states(live, accepted));
        let leaving = self.undurable.leaving.iter().filter(|(id, _)| live.slot(id).is_none());
        status.databases.extend(leaving.map(|(id, problem)| DatabaseStatus {
            database_id: id.to_string(),
            state: DatabaseState::Degraded,
            problem: Some(problem.clone()),
            ..DatabaseStatus::default()
        }));
        status.describe(&self.conditions);
        self.post(&status);
        if self.written.as_ref() != Some(&status) {
            let mut text = Vec::new();
            match write_json(&status, &mut text) {
                Ok(()) => self.file.put(Some(text)),
                Err(error) => error!(error = error.to_string(), "cannot serialise status.json"),
            }
            self.written = Some(status);
        }
    }

    /// Reports changes that the store has not made durable.
    pub fn undurable(&mut self, undurable: Undurable) {
        let withheld = undurable.withheld.iter();
        let withheld = withheld.map(|(id, message)| (id.to_string(), format!("database {id}: {message}")));
        self.conditions.replace(Condition::Withheld, withheld);
        self.undurable = undurable;
    }

    /// Reports that the kernel's state cannot be read.
    pub fn kernel_unreadable(&mut self, error: &anyhow::Error) {
        self.report_late();
        let message = format!("cannot read the kernel's state: {error:#}");
        self.conditions.set(Condition::Kernel, Some(message.clone()));
        if self.written.take().is_some() {
            // The old status must not pass for a new one.
            self.file.put(None);
        }
        self.shared.unknown(&message, self.waiting());
    }

    /// Waits up to `timeout` until `status.json` is written.
    pub fn flush(&self, timeout: Duration) {
        self.file.flush(timeout);
    }

    fn post(&self, status: &Status) {
        let waiting = self.waiting();
        let is_complete = self.conditions.incomplete().is_empty();
        self.shared.post(PublishedState {
            all_in_force: waiting.is_empty() && is_complete,
            status: status.clone(),
            counters: Arc::clone(&self.counters),
            waiting,
        });
    }

    /// Databases with an accepted revision not in force yet, and the time of detection of each.
    fn waiting(&self) -> BTreeMap<String, Timestamp> {
        let waiting = self.observed.iter().filter(|(_, observed)| observed.waiting);
        waiting.filter_map(|(id, observed)| Some((id.to_string(), observed.detected_at?))).collect()
    }

    /// Reports revisions that have waited for half of the propagation window.
    fn report_late(&mut self) {
        let (now, window) = (Timestamp::now(), self.window);
        let late = self.observed.iter().filter_map(|(id, observed)| {
            let detected = observed.detected_at.filter(|_| observed.waiting)?;
            let is_late = now.duration_since(detected).unsigned_abs() * 2 >= window;
            let message = || {
                format!("database {id}: revision not in force within half the propagation window, seen at {detected:.0}")
            };
            is_late.then(|| (id.to_string(), message()))
        });
        self.conditions.replace(Condition::Late, late);
    }

    /// State of each live database, including the state of its file.
    fn states(&self, live: &Live, accepted: &AcceptedFiles) -> BTreeMap<String, Observed> {
        let mut refused: BTreeMap<&DatabaseId, &PathBuf> = BTreeMap::new();
        for (path, id) in &self.refused {
            refused.entry(id).or_insert(path);
        }
        let mut states = BTreeMap::new();
        for database in live.databases.values() {
            let mut observed = self.observed.get(&database.id).cloned().unwrap_or_default();
            let Undurable { withheld, unstored, .. } = &self.undurable;
            if let Some(problem) = withheld.get(&database.id).or(unstored.get(&database.id)) {
                observed.state = DatabaseState::Degraded;
                observed.problem.get_or_insert_with(|| problem.clone());
            }
            let own = accepted.files().get(&database.id).map(|candidate| &candidate.path);
            let is_valid = |path: &PathBuf| self.present.contains(path) && !self.rejected.contains_key(path);
            let errors = || {
                let paths = own.into_iter().chain(refused.get(&database.id).copied());
                paths.filter_map(|path| self.rejected.get(path)).flatten().next()
            };
            // Another file for the database may be refused without harm, for example an older revision.
            if !own.is_some_and(is_valid) {
                match errors() {
                    Some(error) => {
                        observed.state = DatabaseState::Rejected;
                        observed.problem = Some(error.message.clone());
                    }
                    None => {
                        observed.state = DatabaseState::Orphaned;
                        observed.problem = Some("no valid rule file for this database".to_owned());
                    }
                }
            }
            states.insert(database.id.to_string(), observed);
        }
        states
    }
}

/// New messages, with their paths.
fn changed<'a, T: PartialEq>(
    now: &'a BTreeMap<PathBuf, Vec<T>>,
    before: &'a BTreeMap<PathBuf, Vec<T>>,
) -> impl Iterator<Item = (&'a PathBuf, &'a T)> {
    let new = now.iter().filter(|(path, messages)| before.get(*path) != Some(messages));
    new.flat_map(|(path, messages)| messages.iter().map(move |message| (path, message)))
}

fn milliseconds(from: Timestamp, to: Timestamp) -> i64 {
    i64::try_from(to.duration_since(from).as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigFile;
    use crate::rules::{Limits, read_database};
    use crate::sync::{FileBytes, Guards};

    fn candidate() -> Candidate {
        let text = "schema_version: 1\ndatabase_id: crowded\nrevision: 7\ngenerated_at: 2026-08-21T15:27:32Z\n\
                    endpoints: [{port: 5432, address: 192.0.2.1}]\nrules: []\n...\n";
        let limits = Limits { max_rules: 30, allow_monitor: true, node_name: None };
        let rules = read_database(text.as_bytes(), &limits).unwrap().value;
        Candidate { path: "a.yaml".into(), rules: rules.into(), bytes: FileBytes::default() }
    }

    #[test]
    fn removed_database_is_no_longer_reported_late() {
        let dir = tempfile::tempdir().unwrap();
        let flags = ConfigFile {
            interfaces: Some(vec!["none".to_owned()]),
            guarded_ports: Some("5001".parse().unwrap()),
            state_dir: Some(dir.path().to_owned()),
            ..ConfigFile::default()
        };
        let config = Config::resolve(flags, ConfigFile::default(), "host").unwrap();
        let (live, now) = (Live::default(), Timestamp::now());
        let shared = Arc::new(SharedState::new(config.propagation_window));
        let mut reporter = StatusReporter::new(&config, &AcceptedFiles::new(&live), &live, shared).unwrap();
        reporter.window = Duration::ZERO;
        let (candidate, mut accepted) = (candidate(), AcceptedFiles::new(&live));
        let (mut persisted, mut changes) = (PersistedState::default(), crate::sync::Changes::default());
        accepted.accept(candidate, &mut persisted, Timestamp::UNIX_EPOCH, &mut changes);
        let desired = accepted.desired(&persisted, &live, Guards::default(), true, now);
        reporter.detected(accepted.files(), now);
        reporter.published(&Published::default(), &desired, &accepted, &live);
        reporter.report_late();
        assert_eq!(reporter.conditions.count(Condition::Late), 1, "the control");
        let nothing = AcceptedFiles::new(&live);
        reporter.published(&Published::default(), &Desired::default(), &nothing, &live);
        reporter.report_late();
        assert_eq!(reporter.conditions.count(Condition::Late), 0);
        assert!(reporter.waiting().is_empty() && reporter.observed.is_empty());
    }
}
