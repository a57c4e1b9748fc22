//! The store writer as the reconciler sees it, with the real store on a disk in memory. The background thread is
//! simulated: the history advances it, so that a seed always gives the same history.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;

use super::disk::Disk;
use super::faults::Fault;
use crate::files::store::LastGoodStore;
use crate::sync::{Changes, Key, Killed, Record, StateStore};

pub type Records = BTreeMap<Key, Record>;

/// Records that commits promised; outlives every process.
#[derive(Debug, Clone, Default)]
pub struct Promises {
    /// Records as of the last successful commit.
    committed: Records,
    /// Records as of each refused or interrupted commit since: any of them may be on the disk as well.
    attempted: Vec<Records>,
}

impl Promises {
    /// Compares the records read by a start with the promised ones.
    fn check(&self, found: &Records) -> Result<()> {
        let is_known = *found == self.committed || self.attempted.contains(found);
        ensure!(is_known, "the store contains {found:?}, which no commit wrote: {:?}", self.committed);
        Ok(())
    }
}

/// Simulates the store writer of one process.
#[derive(Debug)]
pub struct Writer {
    store: LastGoodStore<Disk>,
    pub disk: Disk,
    pub promises: Promises,
    /// Records that this process knows to be on the disk.
    stored: Records,
    waiting: Changes,
    error: Option<String>,
    /// The thread hangs in the disk: nothing progresses.
    pub hangs: bool,
    /// The disk takes longer than any caller waits.
    pub is_slow: bool,
    rng: Rng,
    fault: Fault,
}

impl Writer {
    pub fn new(disk: Disk, promises: Promises, stored: Records, fault: Fault, rng: Rng) -> Self {
        let store = LastGoodStore::new(disk.clone());
        let (waiting, error) = (Changes::default(), None);
        Self { store, disk, promises, stored, waiting, error, hangs: false, is_slow: false, rng, fault }
    }

    /// Compares the records read by the start with the promised ones.
    pub fn check(&self) -> Result<()> {
        self.promises.check(&self.stored)
    }

    /// Tries one commit of all waiting changes.
    pub fn work(&mut self) {
        if self.hangs || self.waiting.is_empty() {
            return;
        }
        for changes in self.fault.batches(&self.waiting) {
            let mut records = self.stored.clone();
            for (key, record) in changes.iter() {
                match record {
                    Some(record) => _ = records.insert(key.clone(), record.clone()),
                    None => _ = records.remove(key),
                }
            }
            self.promises.attempted.push(records.clone());
            match self.store.commit(&changes) {
                Ok(()) => {
                    self.stored.clone_from(&records);
                    self.promises = Promises { committed: records, attempted: Vec::new() };
                }
                Err(error) => self.error = Some(format!("{error:#}")),
            }
            if self.disk.is_dead() {
                resume_unwind(Box::new(Killed));
            }
            if self.error.is_some() {
                return;
            }
        }
        self.waiting = Changes::default();
    }

    /// Ends the pause after a refused commit.
    pub fn retry(&mut self) {
        self.error = None;
        self.work();
    }

    /// Returns `true` if every change is durable.
    pub fn is_durable(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl StateStore for Writer {
    fn submit(&mut self, changes: Changes) {
        let changes = self.fault.submitted(changes);
        self.waiting.merge(changes);
    }

    fn flush(&mut self, timeout: Duration) -> bool {
        if self.fault == Fault::CommitAfterPublish {
            return true;
        }
        // Between two calls the thread may have progressed or not.
        let advances = if timeout.is_zero() || self.is_slow { self.rng.bool() } else { true };
        if advances && self.error.is_none() {
            self.work();
        }
        self.is_durable()
    }

    fn is_behind(&self) -> bool {
        self.error.is_some() || self.hangs || self.is_slow
    }

    fn is_pending(&self, key: &Key) -> bool {
        let is_ignored = matches!(self.fault, Fault::NothingWithheld | Fault::CommitAfterPublish);
        !is_ignored && self.waiting.contains(key)
    }

    fn problem(&self) -> Option<String> {
        self.error.clone().or_else(|| self.hangs.then(|| "the disk is slow".to_owned()))
    }
}
