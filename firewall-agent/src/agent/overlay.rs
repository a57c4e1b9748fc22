//! The overlay: decisions of an operator over the files, by a command, until they expire.
//!
//! An entry is a durable record, changed only by the commands and by its expiry. What it closes is published at once and
//! stored beside, as a revocation; what it opens is lost by a crash before the commit. Dropping an entry is committed with
//! the publish: a crash in between leaves it in force until its time.

use anyhow::{Context as _, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use tracing::info;

use super::read_back::ReadBack;
use super::reconcile::Reconciler;
use crate::rules::DatabaseId;
use crate::status::event;
use crate::sync::{
    Changes, Expiry, MAX_ENTRIES, OverlayAction, OverlayEntry, OverlayId, Published, StateStore,
};

/// Longest duration of an entry without an explicit end.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// Most characters of a note, as of a label.
const LONGEST_NOTE: usize = 256;

impl<D: ReadBack, S: StateStore> Reconciler<D, S> {
    /// Puts an entry in force until it expires. The same action once more gets the new end.
    ///
    /// # Errors
    /// The database is unknown or has no file, the end is not allowed, the overlay is full, the kernel cannot be read
    /// back after a refused write, or the kernel or the store refuses.
    pub fn add_overlay(&mut self, action: OverlayAction, expiry: Expiry, note: String) -> Result<String> {
        let now = self.clock.now();
        let until = until(expiry, now)?;
        ensure!(
            note.chars().count() <= LONGEST_NOTE,
            "note: {} characters: at most {LONGEST_NOTE} are allowed",
            note.chars().count()
        );
        if let Some(database) = action.database() {
            self.ensure_active(database)?;
        }
        if let (OverlayAction::Allow { .. }, Some(lead)) = (&action, self.clock.ahead()) {
            bail!(
                "allow: the time that decides about its end is {} s ahead of the wall clock and stands still: run \
                 `clock --lower` first",
                lead.as_secs()
            );
        }
        let overlay = self.persisted.overlay();
        let same = overlay.entries().find(|entry| entry.action == action).cloned();
        let entry = match same {
            Some(entry) => OverlayEntry { until, note, ..entry },
            None => {
                ensure!(
                    overlay.len() < MAX_ENTRIES,
                    "overlay: has {MAX_ENTRIES} entries, the most: drop one first"
                );
                overlay.entry(action, until, note, now)
            }
        };
        let mut changes = Changes::default();
        self.persisted.add_overlay(entry.clone(), &mut changes);
        log(&entry, "added");
        let OverlayEntry { id, action, .. } = &entry;
        self.publish_overlay(changes, action.database().into_iter().collect())
            .with_context(|| format!("{id}: not in force yet, will be retried"))?;
        self.flush().with_context(|| format!("{id}: in force"))?;
        let refused =
            self.refusing_block(action).map(|block| format!("\n{block} refuses it: a block comes first"));
        Ok(format!("{id}: {action} until {until:.0}{}", refused.unwrap_or_default()))
    }

    /// Drops entries: the files alone decide again.
    ///
    /// # Errors
    /// An entry does not exist, or as for [`Reconciler::add_overlay`].
    pub fn drop_overlay(&mut self, ids: &[OverlayId]) -> Result<String> {
        for id in ids {
            let entry = self.persisted.overlay().get(id);
            let entry =
                entry.with_context(|| format!("overlay entry {id}: does not exist, or has expired"))?;
            self.ensure_droppable(entry)?;
        }
        let mut changes = Changes::default();
        let (mut lines, mut databases) = (Vec::new(), Vec::new());
        for id in ids {
            if let Some(entry) = self.persisted.drop_overlay(id, &mut changes) {
                log(&entry, "dropped");
                lines.push(format!("{id}: dropped: {}", entry.action));
                databases.extend(entry.action.database().cloned());
            }
        }
        self.publish_overlay(changes, databases.iter().collect())
            .context("dropped, not in force yet, will be retried")?;
        self.flush().context("dropped")?;
        Ok(lines.join("\n"))
    }

    /// Drops the entries that are over, and stores the time that decided it: after a reboot with an earlier clock they
    /// stay over. A permission whose database has no accepted file stays until it has one: nothing else can take its
    /// source from the allow list.
    ///
    /// A permission from a time that was ahead, as before the clock was first synchronised, gets the remaining time that
    /// it was given.
    pub(super) fn expire_overlay(&mut self, now: Timestamp, changes: &mut Changes) {
        let early: Vec<OverlayEntry> = self.persisted.overlay().given_later(now).collect();
        for entry in early {
            log(&entry, "ends earlier: the clock was ahead");
            self.persisted.add_overlay(entry, changes);
            self.force();
        }
        let is_over = |entry: &&OverlayEntry| self.ensure_droppable(entry).is_ok();
        let expired: Vec<OverlayId> =
            self.persisted.overlay().expired(now).filter(is_over).map(|entry| entry.id.clone()).collect();
        for id in &expired {
            if let Some(entry) = self.persisted.drop_overlay(id, changes) {
                log(&entry, "expired");
                self.force();
            }
        }
        if let Some(mark) = self.clock.mark().filter(|_| !expired.is_empty()) {
            self.persisted.set_clock_mark(mark, changes);
        }
    }

    /// Commits and publishes a changed overlay. Fails if the kernel refuses, or if one of `databases` is not in force.
    fn publish_overlay(&mut self, mut changes: Changes, databases: Vec<&DatabaseId>) -> Result<()> {
        let now = self.clock.now();
        // What has expired by this time stays so after a reboot with an earlier clock.
        if let Some(mark) = self.clock.mark() {
            self.persisted.set_clock_mark(mark, &mut changes);
        }
        // Stored also while the kernel cannot be read back. The publish does not wait for the disk: the reply does.
        self.store.submit(changes);
        self.force();
        self.read_back()?;
        let (_, Published { mut failed, errors, .. }) = self.put_in_force(Default::default(), now);
        let of_databases = databases.into_iter().filter_map(|id| failed.remove(id));
        match errors.into_iter().chain(of_databases).next() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Fails for a permission in the kernel whose database has no accepted file.
    fn ensure_droppable(&self, entry: &OverlayEntry) -> Result<()> {
        let OverlayAction::Allow { source, database } = &entry.action else { return Ok(()) };
        let is_stuck = !self.accepted.files().contains_key(database) && self.live.slot(database).is_some();
        ensure!(
            !is_stuck,
            "overlay entry {}: {source} stays allowed: database {database} has no accepted file; push it, or block \
             the source there",
            entry.id
        );
        Ok(())
    }

    fn ensure_active(&self, database: &DatabaseId) -> Result<()> {
        let has_file = self.accepted.files().contains_key(database);
        ensure!(
            has_file,
            "database {database}: no accepted rule file on this host: its endpoints are closed, or unknown"
        );
        Ok(())
    }

    /// The id of a block that refuses sources of a permission.
    fn refusing_block(&self, action: &OverlayAction) -> Option<String> {
        let OverlayAction::Allow { source, database } = action else { return None };
        let (_, id) = self.live.blocks.blocking(source.network(), self.live.slot(database)?)?;
        Some(id.to_string())
    }
}

/// Logs what became of an entry, as an event.
fn log(OverlayEntry { id, action, until, .. }: &OverlayEntry, what: &str) {
    let database = action.database().map(DatabaseId::as_str);
    info!(entry = %id, %action, %until, database, event = event::OVERLAY, "overlay entry {what}");
}

/// The end of an entry that begins `now`.
fn until(expiry: Expiry, now: Timestamp) -> Result<Timestamp> {
    match expiry {
        Expiry::After { seconds } => {
            let span = i64::try_from(seconds).map(SignedDuration::from_secs).unwrap_or(SignedDuration::MAX);
            ensure!(!span.is_zero(), "--for 0s: must be longer");
            if span > LONGEST {
                bail!("--for {span:#}: at most 24h; for a later end give --until TIME");
            }
            now.checked_add(span).context("--for: beyond the calendar's range")
        }
        Expiry::At { time } => {
            ensure!(time > now, "--until {time}: is over, it is {now:.0}");
            Ok(time)
        }
    }
}
