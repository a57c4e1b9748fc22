//! What the daemon has to say: the log, and `status.json`.

mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tracing::{error, info, warn};

use super::background::Background;
use super::host::Host;
use crate::config::Config;
use crate::files::scan::Snapshot;
use crate::files::write::{remove, replace};
use crate::http::Board;
use crate::rules::{DatabaseId, RangeId, State};
use crate::status::{AgentStatus, DatabaseState, Observed, RejectedFile, Status};
use crate::sync::{Candidate, Desired, Published, Refusal};
use crate::version::{OBJECT, VERSION};

type Messages = BTreeMap<PathBuf, Vec<String>>;

/// Collects what happened, says each thing once, and writes it down.
#[derive(Debug)]
pub struct Journal {
    /// `status.json`.
    file: Background<()>,
    agent: AgentStatus,
    rejected: Messages,
    warnings: Messages,
    unlisted: Option<String>,
    /// The database that each file was last taken for.
    sources: BTreeMap<PathBuf, DatabaseId>,
    present: BTreeSet<PathBuf>,
    observed: BTreeMap<DatabaseId, Observed>,
    errors: Vec<String>,
    /// The promised time from seeing a file to its being in force.
    window: Duration,
    written: Option<Status>,
    /// Why the kernel's state could not be read at the last look.
    unknown: Option<String>,
    board: Arc<Board>,
}

impl Journal {
    /// Starts with what `host` has taken over: that is nothing new.
    pub fn new<K, S>(config: &Config, host: &Host<K, S>, board: Arc<Board>) -> Self {
        let sources =
            host.taken.ledger.files.iter().filter_map(|(path, id)| Some((path.clone(), id.parse().ok()?)));
        let live = host.live.databases.values().map(|database| (database.id.clone(), database.floor));
        let stored = host.taken.admitted.iter().map(|(id, candidate)| (id.clone(), candidate.rules.revision));
        let known = |(id, revision)| (id, Observed { revision, ..Observed::default() });
        let path = config.state_dir.join("status.json");
        Self {
            file: Background::new(move |(), content| put(&path, content)),
            agent: AgentStatus {
                running: true,
                pid: std::process::id(),
                version: VERSION.clone(),
                object: OBJECT.to_owned(),
                started_at: Timestamp::now(),
            },
            rejected: Messages::new(),
            warnings: Messages::new(),
            unlisted: None,
            sources: sources.collect(),
            present: BTreeSet::new(),
            observed: live.chain(stored).map(known).collect(),
            errors: Vec::new(),
            window: config.propagation_window,
            written: None,
            unknown: None,
            board,
        }
    }

    /// Takes note of how the files were received.
    pub fn files(
        &mut self,
        snapshot: &Snapshot,
        refused: Messages,
        warnings: Messages,
        not_admitted: &[Refusal],
    ) {
        let mut rejected = refused;
        for refusal in not_admitted {
            rejected.entry(refusal.path.clone()).or_default().push(refusal.message.clone());
            self.sources.insert(refusal.path.clone(), refusal.database.clone());
        }
        for (path, messages) in changed(&rejected, &self.rejected) {
            for message in messages {
                error!(file = %path.display(), error = message, "file refused: what was in force stays");
            }
        }
        for (path, messages) in changed(&warnings, &self.warnings) {
            for message in messages {
                warn!(file = %path.display(), warning = message, "file taken");
            }
        }
        if let Some(unlisted) = &snapshot.unlisted
            && self.unlisted.as_ref() != Some(unlisted)
        {
            error!(error = unlisted, "not every rule file is looked at: what was in force stays");
        }
        self.unlisted.clone_from(&snapshot.unlisted);
        self.present = snapshot.rules.keys().cloned().collect();
        (self.rejected, self.warnings) = (rejected, warnings);
    }

    /// Takes note of revisions that are to be put in force: from now on they wait.
    pub fn detected(&mut self, admitted: &BTreeMap<DatabaseId, Candidate>, seen: Timestamp) {
        for (id, candidate) in admitted {
            self.sources.insert(candidate.path.clone(), id.clone());
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

    /// Takes note of what a publish did.
    pub fn published<K, S>(
        &mut self,
        published: &Published,
        desired: &Desired,
        host: &Host<K, S>,
        (snapshot, seen): (&Snapshot, Timestamp),
    ) {
        let done = Timestamp::now();
        let admitted = &host.taken.admitted;
        self.detected(admitted, seen);
        for (id, stamp) in &published.applied {
            let observed = self.observed.entry(id.clone()).or_default();
            (observed.waiting, observed.late) = (false, false);
            // What a restart replays, and what only the time or a range changed, is no new revision.
            if let Some(candidate) =
                admitted.get(id).filter(|candidate| candidate.rules.revision > observed.revision)
            {
                let visible = snapshot.rules.get(&candidate.path).map_or(done, |seen| seen.visible_at);
                let apply_ms = u64::try_from(milliseconds(visible, done)).unwrap_or(0);
                let propagation_ms = milliseconds(candidate.rules.generated_at, done);
                (observed.apply_ms, observed.propagation_ms) = (Some(apply_ms), Some(propagation_ms));
                self.board.in_force(apply_ms, propagation_ms);
            }
            observed.revision = stamp.revision;
            let (apply_ms, generation) = (observed.apply_ms, stamp.generation);
            info!(database = %id, revision = stamp.revision, generation, apply_ms, "in force");
        }
        for id in &published.removed {
            self.observed.remove(id);
            info!(database = %id, "removed: its endpoints stay closed");
        }
        let unresolved = desired.unresolved();
        for id in desired.databases.keys() {
            let observed = self.observed.entry(id.clone()).or_default();
            let unresolved = unresolved.get(id).map(|ranges| {
                let ranges: Vec<&str> = ranges.iter().map(RangeId::as_str).collect();
                format!("managed range not there: {}", ranges.join(", "))
            });
            let uncounted = published.uncounted.get(id).map(|rules| {
                format!("{rules} rules are counted on the default line: no line of this host is free")
            });
            let failed = published.failed.get(id).map(|error| format!("{error:#}"));
            let unstored = host.unstored.get(id).cloned();
            let problem = failed.or(unresolved).or(unstored).or(uncounted);
            if let Some(problem) = &problem
                && observed.problem.as_ref() != Some(problem)
            {
                error!(database = %id, error = problem, "not wholly in force");
            }
            observed.state = if problem.is_some() { DatabaseState::Degraded } else { DatabaseState::Applied };
            observed.problem = problem;
        }
        let failed = published.failed.iter().map(|(id, error)| format!("database {id}: {error:#}"));
        let errors = published.errors.iter().map(|error| format!("{error:#}"));
        let errors: Vec<String> = errors.chain(failed).collect();
        for message in errors.iter().filter(|message| !self.errors.contains(message)) {
            error!(error = message, "publish is not finished");
        }
        self.errors = errors;
    }

    /// What the last publish left undone.
    pub fn unfinished(&self) -> impl Iterator<Item = &String> {
        self.errors.iter().chain(&self.unknown)
    }

    /// Writes `status.json` when something is new in it.
    pub fn write<K, S>(&mut self, mut status: Status, host: &Host<K, S>, troubles: Vec<String>) {
        status.agent = Some(self.agent.clone());
        status.rejected_files = self
            .rejected
            .iter()
            .map(|(path, errors)| RejectedFile { path: path.display().to_string(), errors: errors.clone() })
            .collect();
        self.unknown = None;
        status.errors = self.unlisted.iter().chain(&self.errors).cloned().chain(troubles).collect();
        status.errors.extend(self.late());
        status.observe(&self.states(&host.live));
        self.post(&status, host);
        if self.written.as_ref() == Some(&status) {
            return;
        }
        self.written = None;
        let text = serde_json::to_vec_pretty(&status);
        match text.map_err(Into::into).map(|text| self.file.ask((), Some(&text))) {
            Ok(Some(Ok(()))) => self.written = Some(status),
            Ok(Some(Err(error))) | Err(error) => {
                let error: anyhow::Error = error;
                error!(error = format!("{error:#}"), "status cannot be written");
            }
            // The disk is slow: it is asked again.
            Ok(None) => {}
        }
    }

    /// Takes note that the kernel's state could not be read; says so once.
    pub fn unknown(&mut self, error: &anyhow::Error) {
        self.late();
        let message = format!("status cannot be worked out: {error:#}");
        if self.unknown.as_ref() != Some(&message) {
            error!(error = message, "status.json is out of date");
            // Old news must not be read as new.
            if let Some(Err(error)) = self.file.ask((), None) {
                error!(error = format!("{error:#}"), "status.json cannot be taken away");
            }
            self.written = None;
            self.unknown = Some(message.clone());
        }
        self.board.unknown(&message, self.waiting());
    }
}

/// Replaces a file, or takes it away.
fn put(path: &Path, content: Option<&[u8]>) -> Result<()> {
    let Some(content) = content else { return remove(path) };
    replace(path, content).inspect_err(|_| {
        // Old news must not be read as new.
        let _ = remove(path);
    })
}

fn changed<'a>(
    now: &'a Messages,
    before: &'a Messages,
) -> impl Iterator<Item = (&'a PathBuf, &'a Vec<String>)> {
    now.iter().filter(|(path, messages)| before.get(*path) != Some(messages))
}

fn milliseconds(from: Timestamp, to: Timestamp) -> i64 {
    i64::try_from(to.duration_since(from).as_millis()).unwrap_or(i64::MAX)
}
