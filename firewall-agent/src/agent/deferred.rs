//! The last-good store behind a thread of its own: what a slow disk has not stored in time is stored later, and nothing
//! else waits for it.

use std::time::Duration;

use anyhow::{Result, bail};

use super::background::Background;
use super::machine::Shelf;
use crate::files::store::{Entry, Loaded, Store};
use crate::rules::DatabaseId;

/// An operator who asks for one thing gets to know whether it is stored.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store that is not waited for longer than a moment.
#[derive(Debug)]
pub struct Deferred {
    store: Store,
    disk: Background<Key>,
}

/// An entry of its own. A power cut between two of them must not open anything: a destination that changes hands is
/// stored with its new database before the ledger forgets that it is closed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Database(DatabaseId),
    Ranges,
    Ledger,
}

impl Key {
    fn entry(&self) -> Entry<'_> {
        match self {
            Self::Database(id) => Entry::Database(id),
            Self::Ranges => Entry::Ranges,
            Self::Ledger => Entry::Ledger,
        }
    }
}

impl From<&Entry<'_>> for Key {
    fn from(entry: &Entry<'_>) -> Self {
        match entry {
            Entry::Database(id) => Self::Database((*id).clone()),
            Entry::Ranges => Self::Ranges,
            Entry::Ledger => Self::Ledger,
        }
    }
}

impl Deferred {
    pub(super) fn new(store: Store) -> Self {
        let inner = store.clone();
        let disk = Background::new(move |key: &Key, content| match content {
            Some(content) => inner.save(&key.entry(), content),
            None => inner.remove(&key.entry()),
        });
        Self { store, disk }
    }

    /// Waits for the disk from now on, within reason: nothing else is to be done meanwhile.
    pub(super) fn wait(&self) {
        self.disk.wait_up_to(PATIENCE);
    }

    fn ask(&self, entry: &Entry<'_>, content: Option<&[u8]>) -> Result<()> {
        match self.disk.ask(entry.into(), content) {
            Some(done) => done,
            None => bail!("{}: not stored yet: the disk is slow", self.store.path(entry).display()),
        }
    }
}

impl Shelf for Deferred {
    fn load(&self) -> Loaded {
        self.store.load()
    }

    fn save(&self, entry: &Entry<'_>, content: &[u8]) -> Result<()> {
        self.ask(entry, Some(content))
    }

    fn remove(&self, entry: &Entry<'_>) -> Result<()> {
        self.ask(entry, None)
    }

    fn is_stored_since(&self, entry: &Entry<'_>) -> bool {
        self.disk.has_ended(&entry.into())
    }
}
