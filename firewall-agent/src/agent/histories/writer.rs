//! The store writer as the reconciler sees it, over the real store on a disk in memory. The background thread is played:
//! it gets on when the history says so, so that a seed always gives the same history.

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
    /// Records as of the last commit that returned without an error.
    kept: Records,
    /// Records as of each refused or cut-off commit since: any of them may be on the disk as well.
    attempted: Vec<Records>,
}

impl Promises {
    /// Compares records that a start has read with what was promised.
    fn check(&self, found: &Records) -> Result<()> {
        let is_known = *found == self.kept || self.attempted.contains(found);
        ensure!(is_known, "the store holds {found:?}, and no commit left that: {:?}", self.kept);
        Ok(())
    }
}

/// Plays the store writer of one process.
#[derive(Debug)]
pub struct Writer {
    store: LastGoodStore<Disk>,
    pub disk: Disk,
    pub promises: Promises,
    /// Records as this process knows them to be on the disk.
    stored: Records,
    waiting: Changes,
    error: Option<String>,
    /// The thread hangs in the disk: nothing gets on.
    pub hangs: bool,
    /// The disk takes longer than anybody waits.
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

    /// Compares the records that the start has read with what was promised.
    pub fn check(&self) -> Result<()> {
        self.promises.check(&self.stored)
    }

    /// The thread tries one commit of everything that waits.
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
                    self.promises = Promises { kept: records, attempted: Vec::new() };
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

    /// The pause after a refused commit is over.
    pub fn retry(&mut self) {
        self.error = None;
        self.work();
    }

    /// Whether every change is durable.
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
        // Between two moments the thread may or may not have got on.
        let gets_on = if timeout.is_zero() || self.is_slow { self.rng.bool() } else { true };
        if gets_on && self.error.is_none() {
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
