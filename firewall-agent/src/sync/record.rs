//! Durable records, which survive a reboot, each under its own key, and batches of changes to them.

use std::collections::BTreeMap;
use std::collections::btree_map::IntoIter;
use std::path::PathBuf;
use std::sync::Arc;

use firewall_common::Tally;
use jiff::Timestamp;

use super::hits::DatabaseHits;
use super::in_force::InForce;
use super::model::Destination;
use super::overlay::{OverlayEntry, OverlayId};
use crate::rules::{DatabaseId, RangeId, RangesKind};

/// Exact bytes of an accepted file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    pub path: PathBuf,
    /// The `.minisig` beside it; `None` where no signature is required.
    pub signature: Option<Arc<[u8]>>,
    pub content: Arc<[u8]>,
}

/// Accepted managed or blocked ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRanges {
    /// The newest accepted file; `None` before the first.
    pub file: Option<StoredFile>,
    /// YAML of the ranges in force: those of the file, with the previous list of each range that the shrink guard
    /// retained.
    pub effective: String,
}

/// Presence of a database on this host, decided by its newest accepted file or an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The newest accepted file is active.
    Active,
    /// The newest accepted file says `state: removed`.
    Removed,
    /// Dropped by `forget`.
    Forgotten,
}

/// Revision floor of one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Files below this revision are refused. 0 after `rebase`.
    pub revision: u64,
    pub presence: Presence,
    /// The kernel's newest revision is no floor: set by `rebase`, cleared when a later file is in force.
    pub rebased: bool,
    /// Position in the order of the last raise of each floor: the oldest is dropped first.
    pub order: u64,
}

/// Name of a record. The store has at most one record per key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    File(DatabaseId),
    Ranges(RangesKind),
    Claim(Destination),
    Floor(DatabaseId),
    InForce(DatabaseId),
    Retired(DatabaseId),
    Hits(DatabaseId),
    CountersOf,
    ClockMark,
    Detached,
    RangeNotice(RangeId),
    Overlay(OverlayId),
}

/// One durable fact with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The accepted rule file of a database.
    File(DatabaseId, StoredFile),
    Ranges(RangesKind, StoredRanges),
    /// A destination that an accepted file claimed and no operator released, with the last claimant; `None` where the
    /// kernel had the destination and the store did not.
    Claim(Destination, Option<DatabaseId>),
    Floor(DatabaseId, Floor),
    InForce(DatabaseId, InForce),
    /// Counted by retired rule counters.
    Retired(DatabaseId, Tally),
    /// Counts of the rules of a database.
    Hits(DatabaseId, DatabaseHits),
    /// Identity of the kernel's counters at the last reading of hits.
    CountersOf(String),
    /// The time that expiry has reached.
    ClockMark(Timestamp),
    /// The time of `detach`; absent while attached.
    Detached(Timestamp),
    /// An unusual change of a managed range in force, not acknowledged yet.
    RangeNotice(RangeId, String),
    /// An operator's decision over the files.
    Overlay(OverlayEntry),
}

impl Record {
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::File(id, _) => Key::File(id.clone()),
            Self::Ranges(kind, _) => Key::Ranges(*kind),
            Self::Claim(destination, _) => Key::Claim(*destination),
            Self::Floor(id, _) => Key::Floor(id.clone()),
            Self::InForce(id, _) => Key::InForce(id.clone()),
            Self::Retired(id, _) => Key::Retired(id.clone()),
            Self::Hits(id, _) => Key::Hits(id.clone()),
            Self::CountersOf(_) => Key::CountersOf,
            Self::ClockMark(_) => Key::ClockMark,
            Self::Detached(_) => Key::Detached,
            Self::RangeNotice(id, _) => Key::RangeNotice(id.clone()),
            Self::Overlay(entry) => Key::Overlay(entry.id.clone()),
        }
    }
}

/// A batch of changes for one transaction; the last of several changes to one key wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    records: BTreeMap<Key, Option<Record>>,
    confirms: bool,
}

impl Changes {
    pub fn put(&mut self, record: Record) {
        self.records.insert(record.key(), Some(record));
    }

    pub fn remove(&mut self, key: Key) {
        self.records.insert(key, None);
    }

    /// Makes the store write all its records once more: an earlier process of this boot may have written them without a
    /// sync. Until then no record counts as durable.
    pub fn confirm(&mut self) {
        self.confirms = true;
    }

    /// Returns `true` after [`Changes::confirm`].
    #[must_use]
    pub fn confirms(&self) -> bool {
        self.confirms
    }

    /// Adds later changes.
    pub fn merge(&mut self, later: Self) {
        self.records.extend(later.records);
        self.confirms |= later.confirms;
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && !self.confirms
    }

    /// Returns `true` when the record of this key is durable only after these changes are.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.confirms || self.records.contains_key(key)
    }

    /// The changes by key; `None` removes the record.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, Option<&Record>)> {
        self.records.iter().map(|(key, record)| (key, record.as_ref()))
    }
}

impl IntoIterator for Changes {
    type Item = (Key, Option<Record>);
    type IntoIter = IntoIter<Key, Option<Record>>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.into_iter()
    }
}
