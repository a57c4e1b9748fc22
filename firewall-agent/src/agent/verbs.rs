//! Verbs: changes on an operator's command, with or without a daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use tracing::info;

use super::read_back::ReadBack;
use super::reconcile::Reconciler;
use crate::bpf::{Pins, detach_all};
use crate::escape::path_text;
use crate::rules::DatabaseId;
use crate::status::event;
use crate::sync::{Changes, Destination, Published, StateStore};

/// Longest wait for an unresponsive directory.
const PATIENCE: Duration = Duration::from_secs(2);

impl<D: ReadBack, S: StateStore> Reconciler<D, S> {
    /// Drops a database without a file. Its endpoints stay closed, unless `open` releases them.
    ///
    /// # Errors
    /// The database is unknown, its file still exists, the kernel cannot be read back after a refused write, or the
    /// kernel or the store refuses.
    pub fn forget(&mut self, id: &DatabaseId, open: bool) -> Result<String> {
        let claims = self.persisted.claimed_by(id);
        ensure!(self.knows(id) || !claims.is_empty(), "database {id}: unknown on this host");
        if let Some(candidate) = self.accepted.files().get(id) {
            let path = path_text(&candidate.path);
            match exists(candidate.path.clone()) {
                Some(false) => {}
                Some(true) => bail!("database {id}: its rule file exists: remove {path} first"),
                None => bail!("database {id}: cannot stat {path}: its directory does not respond"),
            }
        }
        self.read_back()?;
        let mut changes = Changes::default();
        self.accepted.drop_file(id, &mut changes);
        self.persisted.forget(id, &mut changes);
        let now = self.clock.now();
        self.commit_closes(now, changes);
        let opened = if open { claims.clone() } else { BTreeSet::new() };
        let (_, Published { mut failed, errors, .. }) = self.put_in_force(opened, now);
        self.force();
        let durable = self.flush();
        info!(database = %id, event = event::REMOVED, "database forgotten");
        // Another database without room is no failure of this one's.
        if let Some(error) = errors.into_iter().chain(failed.remove(id)).next() {
            return Err(error);
        }
        durable?;
        let (opened, closed): (Vec<&Destination>, Vec<&Destination>) =
            claims.iter().partition(|claim| open && !self.live.guarded.contains(claim.port));
        let list = |destinations: Vec<&Destination>| match destinations.as_slice() {
            [] => "nothing".to_owned(),
            some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let guarded = if open { " (guarded)" } else { "" };
        Ok(format!("database {id}: forgotten; opened: {}; closed{guarded}: {}", list(opened), list(closed)))
    }

    /// Lets the next file of a database have any revision, also after `forget`. Its rules stay in force.
    ///
    /// # Errors
    /// The database is unknown, or the store refuses.
    pub fn rebase(&mut self, id: &DatabaseId) -> Result<String> {
        let is_known = self.knows(id) || self.persisted.presence(id).is_some();
        ensure!(is_known, "database {id}: unknown on this host");
        let mut changes = Changes::default();
        self.persisted.rebase(id, &mut changes);
        self.store.submit(changes);
        self.force();
        self.flush()?;
        let rules = if self.live.slot(id).is_some() { "; its rules stay in force" } else { "" };
        Ok(format!("database {id}: its next file may have any revision{rules}"))
    }

    /// Drops the notices about changes of managed ranges.
    ///
    /// # Errors
    /// The store refuses.
    pub fn acknowledge_ranges(&mut self) -> Result<String> {
        let notices = self.persisted.range_notices().clone();
        let mut changes = Changes::default();
        self.persisted.set_range_notices(BTreeMap::new(), &mut changes);
        self.store.submit(changes);
        self.flush()?;
        if notices.is_empty() {
            return Ok("no change of a managed range waits".to_owned());
        }
        let lines: Vec<String> =
            notices.iter().map(|(id, notice)| format!("range {id}: acknowledged: {notice}")).collect();
        Ok(lines.join("\n"))
    }

    /// Time of `detach`; `None` while attached.
    #[must_use]
    pub fn detached(&self) -> Option<Timestamp> {
        self.persisted.detached()
    }

    /// Stores that the links are detached, or attached again, across restarts and reboots.
    ///
    /// # Errors
    /// The store refuses.
    pub fn set_detached(&mut self, detached: bool) -> Result<()> {
        let mut changes = Changes::default();
        self.persisted.set_detached(detached.then(Timestamp::now), &mut changes);
        self.store.submit(changes);
        self.flush()
    }

    /// Waits until everything is durable, unless the daemon does so before it replies.
    pub(super) fn flush(&mut self) -> Result<()> {
        ensure!(!self.waits_for_store || self.store.flush(self.store_patience), "{}", self.unstored());
        Ok(())
    }

    /// Message about a store that has not caught up.
    pub(super) fn unstored(&self) -> String {
        format!("not stored yet: {}", self.store.problem().unwrap_or_else(|| "the disk is slow".to_owned()))
    }

    /// Detaches every link until `attach`; returns the destinations that are open now.
    ///
    /// # Errors
    /// A link cannot be detached, or the store refuses.
    pub fn detach(&mut self, pins: &Pins) -> Result<String> {
        // A full disk is no reason to stay closed when an operator wants the host open.
        let stored = self.set_detached(true);
        let interfaces = detach_all(pins)?;
        stored.context("everything is detached, but this is not stored: the next start attaches again")?;
        Ok(self.describe_open(&interfaces))
    }

    /// Describes the destinations that anyone may reach while `interfaces` are not filtered.
    #[must_use]
    pub fn describe_open(&self, interfaces: &[String]) -> String {
        let list = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
        let endpoints = self.live.table.endpoints.keys().map(Destination::to_string).collect();
        format!(
            "detached until `attach`: {}\nopen to everyone now: {}; guarded ports: {}",
            list(interfaces.to_vec()),
            list(endpoints),
            self.live.guarded
        )
    }
}

/// Returns whether a file exists; `None` when its directory does not respond.
fn exists(path: PathBuf) -> Option<bool> {
    let (sender, answer) = channel();
    thread::spawn(move || sender.send(path.exists()));
    answer.recv_timeout(PATIENCE).ok()
}
