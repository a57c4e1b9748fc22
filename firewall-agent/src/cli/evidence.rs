//! Facts beside a verdict: the revision in force, the pushed file, earlier refusals, the origin of a closed destination.

use std::net::IpAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::events::read_events;
use super::known_databases::KnownDatabases;
use super::pushed_files::PushedFiles;
use super::settings::{Located, Settings};
use super::status::read_status_file;
use crate::agent::clock_at;
use crate::bpf::{Denied, Kernel};
use crate::escape::path_text;
use crate::host::clock::Moment;
use crate::rules::{DatabaseId, State};
use crate::status::Status;
use crate::status::event::{self, Event};
use crate::sync::{Destination, Live, OverlayAction, OverlayEntry, Presence, TableEntry};

/// Longest wait for the files: the verdict must not wait for an unresponsive directory.
const PATIENCE: Duration = Duration::from_secs(2);

/// The revision of a database in the kernel. Field names are an interface.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct RevisionInForce {
    pub revision: u64,
    pub generation: u64,
    pub applied_at: Timestamp,
}

/// State of the newest pushed file of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FileState {
    InForce,
    /// Valid, and not in the kernel.
    NotInForce,
    Rejected,
    /// Removed from disk; the rules stay in force.
    Gone,
}

/// The newest pushed file of a database. Field names are an interface.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct PushedFile {
    pub path: String,
    pub state: FileState,
    /// `None` when the file is not valid, or gone.
    pub revision: Option<u64>,
    /// Time of its last change on disk; `None` when it is gone.
    pub changed_at: Option<Timestamp>,
    /// Time at which the agent saw it, if it reported that since the change.
    pub seen_at: Option<Timestamp>,
    pub errors: Vec<String>,
}

/// Earlier refusals of the source at the destination. Field names are an interface.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Refusals {
    pub packets: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
}

/// The reason for which a destination is closed. Field names are an interface.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Closed {
    /// `true`: a database left the destination behind. `false`: no file claims the guarded port there.
    pub is_tombstone: bool,
    /// The last database that claimed it.
    pub database_id: Option<String>,
    /// `active`: its revision does not have the endpoint any more; `removed` or `forgotten` otherwise.
    pub presence: Option<&'static str>,
    /// The newest accepted revision of that database.
    pub revision: Option<u64>,
    /// Time at which the destination closed, as the history knows it.
    pub since: Option<Timestamp>,
}

/// The entry of the overlay that decides. Field names are an interface.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct DecidingEntry {
    pub id: String,
    /// Such as `close database orders`.
    pub action: String,
    pub until: Timestamp,
    pub note: String,
}

/// A rule that would allow the source, had it not expired. Field names are an interface.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct ExpiredRule {
    pub id: String,
    /// The prefix around the source, without host bits.
    pub cidr: String,
    pub expires_at: Timestamp,
}

/// Sources of facts.
pub(super) struct Evidence {
    denied: Vec<Denied>,
    status: Option<Status>,
    history: Vec<Event>,
    /// The store and the files, or the reason for which they could not be read.
    pushed: Result<PushedFiles, String>,
}

impl Evidence {
    /// Reads everything but the kernel's live state. A file system that does not respond costs two seconds.
    ///
    /// # Errors
    /// When the kernel's table of refused sources cannot be read.
    pub fn read(settings: Settings, directories: &Located, kernel: &Kernel, live: &Live) -> Result<Self> {
        let limits = settings.limits()?;
        let (sender, receiver) = channel();
        let (copied, live) = (directories.clone(), live.clone());
        thread::spawn(move || {
            let pushed = PushedFiles::read(&settings, &copied, &[], &limits, &live);
            let pushed = pushed.map_err(|error| format!("{error:#}"));
            let history = read_events(&copied.state_dir).unwrap_or_default();
            // After the time-out there is no receiver.
            let _ = sender.send((pushed, read_status_file(&copied).ok(), history));
        });
        let hangs =
            || (Err(format!("files and store: no answer within {} s", PATIENCE.as_secs())), None, Vec::new());
        let (pushed, status, history) = receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| hangs());
        let denied = kernel.denied().context("cannot read the refused sources")?;
        Ok(Self { denied, status, history, pushed })
    }

    /// Facts that could not be read.
    pub fn unchecked(&self) -> Vec<String> {
        match &self.pushed {
            Ok(pushed) => pushed.problems.clone(),
            Err(problem) => vec![problem.clone()],
        }
    }

    /// The databases that the target may name.
    pub fn databases(&self, live: &Live) -> KnownDatabases {
        match &self.pushed {
            Ok(pushed) => KnownDatabases::joined(&pushed.accepted, &pushed.persisted, live),
            Err(_) => KnownDatabases::live(live),
        }
    }

    /// Destinations that a database claimed last.
    pub fn claims(&self, id: &DatabaseId) -> Vec<Destination> {
        let pushed = self.pushed.iter();
        pushed.flat_map(|pushed| pushed.persisted.claimed_by(id)).collect()
    }

    /// The newest pushed file of a database; `None` when it never had one, or nothing could be read.
    pub fn file(&self, id: &DatabaseId, live: &Live) -> Option<PushedFile> {
        let PushedFiles { accepted, admission, files, problems, .. } = self.pushed.as_ref().ok()?;
        let own = accepted.files().get(id).map(|candidate| &candidate.path);
        let refusal = admission.refused.iter().find(|refusal| refusal.database == *id);
        let admitted = admission.admitted.get(id);
        let path =
            admitted.map(|candidate| &candidate.path).or(refusal.map(|refusal| &refusal.path)).or(own)?;
        let report = files.iter().find(|report| report.path == *path);
        let seen_at = |changed_at: Option<Timestamp>| {
            let databases = self.status.iter().flat_map(|status| &status.databases);
            let seen = databases.filter(|one| one.database_id == id.as_str()).find_map(|one| one.detected_at);
            seen.filter(|seen| changed_at.is_some_and(|changed| changed <= *seen))
        };
        let changed_at = report.and_then(|report| report.visible_at);
        let revision = report.and_then(|report| report.database()).map(|rules| rules.revision);
        let (state, errors) = match (admitted, report) {
            (Some(candidate), _) => {
                let revision = in_force(id, live).map(|live| live.revision);
                let is_in_force = match candidate.rules.state {
                    State::Active => revision == Some(candidate.rules.revision),
                    State::Removed => live.slot(id).is_none(),
                };
                (if is_in_force { FileState::InForce } else { FileState::NotInForce }, Vec::new())
            }
            (None, Some(report)) => {
                let errors = report.rejections().into_iter().map(|rejection| rejection.message);
                (FileState::Rejected, errors.chain(refusal.map(|one| one.reason.message.clone())).collect())
            }
            // A directory that cannot be listed says nothing about its files.
            (None, None) if problems.is_empty() => (FileState::Gone, Vec::new()),
            (None, None) => return None,
        };
        let path = path_text(path);
        Some(PushedFile { path, state, revision, changed_at, seen_at: seen_at(changed_at), errors })
    }

    /// Rules of the accepted file of a database that have expired and would allow the source, in file order.
    ///
    /// # Errors
    /// When the clock cannot be read.
    pub fn expired(&self, id: &DatabaseId, source: IpAddr) -> Result<Vec<ExpiredRule>> {
        let Ok(PushedFiles { accepted, persisted, .. }) = &self.pushed else { return Ok(Vec::new()) };
        let now = clock_at(accepted, persisted, Moment::now()?).now();
        let rules = accepted.files().get(id).into_iter().flat_map(|candidate| &candidate.rules.rules);
        let expired = rules.filter_map(|rule| {
            let expires_at = rule.expires_at.filter(|at| *at <= now)?;
            let mut cidrs = accepted.ranges().resolve(&rule.source).ok()?;
            let cidr = cidrs.find(|cidr| cidr.contains(&source))?;
            Some(ExpiredRule { id: rule.id.to_string(), cidr: cidr.to_string(), expires_at })
        });
        Ok(expired.collect())
    }

    /// The entry of the overlay with this id.
    pub fn overlay_entry(&self, id: &str) -> Option<DecidingEntry> {
        self.overlay(|entry| entry.id.as_str() == id)
    }

    /// The entry of the overlay that closes a database.
    pub fn closing_entry(&self, database: &DatabaseId) -> Option<DecidingEntry> {
        self.overlay(
            |entry| matches!(&entry.action, OverlayAction::Close { database: closed } if closed == database),
        )
    }

    fn overlay(&self, is_it: impl Fn(&OverlayEntry) -> bool) -> Option<DecidingEntry> {
        let entry = self.pushed.as_ref().ok()?.persisted.overlay().entries().find(|entry| is_it(entry))?;
        Some(DecidingEntry {
            id: entry.id.to_string(),
            action: entry.action.to_string(),
            until: entry.until,
            note: entry.note.clone(),
        })
    }

    /// Earlier refusals of a source at a destination, on every interface and at sockets.
    pub fn refusals(&self, source: IpAddr, to: &Destination) -> Option<Refusals> {
        let is_it = |one: &&Denied| {
            let what = &one.what;
            let is_there = to.address.is_none() || what.destination == to.address;
            what.source == Some(source)
                && is_there
                && what.port == to.port
                && what.protocol == Some(to.protocol)
        };
        let mut found = self.denied.iter().filter(is_it).map(|one| Refusals {
            packets: one.packets,
            first_seen: one.first_seen,
            last_seen: one.last_seen,
        });
        let first = found.next()?;
        Some(found.fold(first, |sum, one| Refusals {
            packets: sum.packets + one.packets,
            first_seen: sum.first_seen.min(one.first_seen),
            last_seen: sum.last_seen.max(one.last_seen),
        }))
    }

    /// The origin of a closed destination.
    pub fn closed(&self, to: &Destination, live: &Live) -> Closed {
        let entry = live.table.endpoints.deciding(to);
        let pushed = self.pushed.as_ref().ok();
        let owner = pushed.and_then(|pushed| {
            let claims = pushed.persisted.claims();
            claims.claimant(to).or_else(|| claims.claimant(&to.everywhere())).cloned()
        });
        let floor = owner.as_ref().zip(pushed).map(|(id, pushed)| pushed.persisted.floor(id));
        let revision = floor.filter(|revision| *revision > 0);
        let presence = owner.as_ref().zip(pushed).and_then(|(id, pushed)| pushed.persisted.presence(id));
        Closed {
            is_tombstone: entry == Some(&TableEntry::Tombstone) || owner.is_some(),
            since: owner.as_ref().and_then(|id| self.closed_since(id, presence, revision)),
            database_id: owner.map(|id| id.to_string()),
            presence: presence.map(|presence| match presence {
                Presence::Active => "active",
                Presence::Removed => "removed",
                Presence::Forgotten => "forgotten",
            }),
            revision,
        }
    }

    /// Time at which a database left: the newest event of its removal, or of the revision without the destination.
    fn closed_since(
        &self,
        id: &DatabaseId,
        presence: Option<Presence>,
        revision: Option<u64>,
    ) -> Option<Timestamp> {
        let is_it = |event: &&Event| match presence {
            Some(Presence::Removed | Presence::Forgotten) => event.event == event::REMOVED,
            Some(Presence::Active) => {
                let of = event.fields.get("revision").and_then(Value::as_u64);
                event.event == event::IN_FORCE && of == revision
            }
            None => false,
        };
        let mut about = self.history.iter().rev().filter(|event| event.is_about(id.as_str()));
        about.find(is_it).map(|event| event.time)
    }
}

/// The revision of a database in force; `None` when it is not in the kernel, or a publish was interrupted.
pub(super) fn in_force(id: &DatabaseId, live: &Live) -> Option<RevisionInForce> {
    let database = live.databases.get(&live.slot(id)?)?;
    let stamp = database.stamp.as_ref()?;
    let (revision, generation, applied_at) = (stamp.revision, stamp.generation, stamp.applied_at);
    Some(RevisionInForce { revision, generation, applied_at })
}
