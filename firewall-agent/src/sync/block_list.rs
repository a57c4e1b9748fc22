//! Block lists: sources refused at endpoints, before any rule.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::indices::DatabaseSlot;
use super::model::CounterKind;
use super::remainder::around;

/// Id of a blocked range, or of a local block.
pub type BlockId = Arc<str>;

/// Entries of a block list, each with the id that it counts on.
pub type BlockedSources = BTreeMap<BlockedSource, BlockId>;

/// A block list of the host. The kernel replaces each as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockListKind {
    /// The blocked ranges, which the control plane pushes.
    Ranges,
    /// The blocks of the overlay.
    Local,
}

impl BlockListKind {
    pub const ALL: [Self; 2] = [Self::Ranges, Self::Local];

    /// Kind of the counters of this list.
    #[must_use]
    pub fn counter_kind(self) -> CounterKind {
        match self {
            Self::Ranges => CounterKind::BlockedRange,
            Self::Local => CounterKind::LocalBlock,
        }
    }
}

/// Sources that a block list refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockedSource {
    /// The database whose endpoints refuse them; `None` for every endpoint of the host.
    pub database: Option<DatabaseSlot>,
    /// Canonical: no host bits.
    pub net: IpNet,
}

/// A block list in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockList {
    /// Shared with the desired list: comparing them is comparing two pointers.
    pub sources: Arc<BlockedSources>,
    /// `false` if the published list cannot be read: it may contain anything.
    pub is_known: bool,
}

impl Default for BlockList {
    fn default() -> Self {
        Self { sources: Arc::default(), is_known: true }
    }
}

impl BlockList {
    /// Returns `true` if the list is known to be exactly this one.
    #[must_use]
    pub fn is(&self, sources: &Arc<BlockedSources>) -> bool {
        self.is_known && (Arc::ptr_eq(&self.sources, sources) || self.sources == *sources)
    }

    /// Returns `true` if the list is known to have each of these entries.
    pub(super) fn contains(&self, sources: &Arc<BlockedSources>) -> bool {
        let has = |(source, id): (&BlockedSource, &BlockId)| self.sources.get(source) == Some(id);
        self.is_known && (Arc::ptr_eq(&self.sources, sources) || sources.iter().all(has))
    }

    /// Id of the entry that refuses a source at endpoints of this database.
    fn blocking(&self, source: IpAddr, database: DatabaseSlot) -> Option<&BlockId> {
        [None, Some(database)].into_iter().find_map(|database| {
            around(IpNet::from(source)).find_map(|net| self.sources.get(&BlockedSource { database, net }))
        })
    }
}

/// Both block lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockLists {
    pub ranges: BlockList,
    pub local: BlockList,
}

impl BlockLists {
    #[must_use]
    pub fn get(&self, kind: BlockListKind) -> &BlockList {
        match kind {
            BlockListKind::Ranges => &self.ranges,
            BlockListKind::Local => &self.local,
        }
    }

    pub fn get_mut(&mut self, kind: BlockListKind) -> &mut BlockList {
        match kind {
            BlockListKind::Ranges => &mut self.ranges,
            BlockListKind::Local => &mut self.local,
        }
    }

    /// The entry that refuses a source at endpoints of this database, in the order of the program.
    #[must_use]
    pub fn blocking(&self, source: IpAddr, database: DatabaseSlot) -> Option<(BlockListKind, &BlockId)> {
        let of = |kind| Some((kind, self.get(kind).blocking(source, database)?));
        BlockListKind::ALL.into_iter().find_map(of)
    }

    /// Returns `true` if an entry refers to this database slot.
    pub(super) fn refer_to(&self, slot: DatabaseSlot) -> bool {
        self.local.sources.keys().any(|source| source.database == Some(slot))
    }
}

/// A block list about to be published, with the counter of each id; an id without one is not counted.
#[derive(Debug, Clone, Copy)]
pub struct BlockReplacement<'a> {
    pub kind: BlockListKind,
    pub sources: &'a Arc<BlockedSources>,
    pub counters: &'a BTreeMap<BlockId, super::CounterId>,
}
