//! Domain model of the kernel's state. Only `bpf` converts it to map keys and values.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::block_list::BlockLists;
pub use super::destination::Destination;
pub use super::endpoints::Endpoints;
pub use super::guards::Guards;
pub use super::indices::{CounterId, DatabaseSlot, Indices};
pub use super::ports::Ports;
use super::table::Table;
use super::unchanged::Confirmed;
use crate::rules::{DatabaseId, Mode, PrefixMap, Protocol};

/// Entry of the endpoint table for one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableEntry {
    /// A database's endpoint.
    Open {
        slot: DatabaseSlot,
        mode: Mode,
        /// Counts the sources outside the allow list.
        default_counter: CounterId,
    },
    /// A tombstone of a former endpoint.
    Tombstone,
}

impl TableEntry {
    /// The database slot of an open endpoint.
    #[must_use]
    pub fn slot(&self) -> Option<DatabaseSlot> {
        match self {
            Self::Open { slot, .. } => Some(*slot),
            Self::Tombstone => None,
        }
    }
}

/// Kind of a rule counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CounterKind {
    /// Packets that no rule allows.
    Default,
    /// A `custom_range` rule.
    Custom,
    /// A `managed_range` rule, with the id of its range.
    Managed(String),
    /// One prefix of a `managed_range` rule, with the id of the range. The allow list identifies the prefix: no other
    /// counts here.
    Prefix(String),
    /// An internal range.
    Internal,
    /// A range of the blocked ranges; belongs to no database.
    BlockedRange,
    /// A block of the overlay; belongs to no database, also if it concerns only one.
    LocalBlock,
    /// A source that the overlay allows.
    LocalAllow,
}

impl CounterKind {
    /// The name in commands.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Custom => "custom_range",
            Self::Managed(_) | Self::Prefix(_) => "managed_range",
            Self::Internal => "internal_range",
            Self::BlockedRange => "blocked_range",
            Self::LocalBlock => "local_block",
            Self::LocalAllow => "local_allow",
        }
    }

    /// The kind of the rule that the counter belongs to: `Managed` for the counter of a single prefix.
    #[must_use]
    pub fn of_rule(&self) -> Self {
        match self {
            Self::Prefix(range) => Self::Managed(range.clone()),
            Self::Default
            | Self::Custom
            | Self::Managed(_)
            | Self::Internal
            | Self::BlockedRange
            | Self::LocalBlock
            | Self::LocalAllow => self.clone(),
        }
    }

    /// The id of the managed range; `None` for every other kind.
    #[must_use]
    pub fn range(&self) -> Option<&str> {
        match self {
            Self::Managed(range) | Self::Prefix(range) => Some(range),
            Self::Default
            | Self::Custom
            | Self::Internal
            | Self::BlockedRange
            | Self::LocalBlock
            | Self::LocalAllow => None,
        }
    }
}

/// Record of a rule counter: the database and the rule that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleCounter {
    /// [`DatabaseSlot::NONE`] for an entry of a block list.
    pub database: DatabaseSlot,
    pub kind: CounterKind,
    /// Rule id; the CIDR of an internal range (no rule id has a slash); the id of a blocked range, or of an entry of the
    /// overlay (no rule id has a colon); empty for the default counter. With the
    /// database it identifies the rule as long as it exists; the counters of a rule's single prefixes share the rule's
    /// id.
    pub id: String,
    /// The rule's label, or the managed range's name; empty when there is none.
    pub label: String,
}

/// Metadata of one published state of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    pub revision: u64,
    /// Number of the published rule set, over all databases of the host.
    pub generation: u64,
    /// To the second.
    pub applied_at: Timestamp,
    /// SHA-256 over the allow list: see [`digest`](super::digest()).
    pub digest: [u8; 32],
}

/// A database in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    pub id: DatabaseId,
    /// Empty when the file gives none.
    pub name: String,
    pub default_counter: CounterId,
    /// The highest revision known to have been published, or to have been about to.
    pub floor: u64,
    /// `None` when the live tries match no stamp: a publish was interrupted between the families.
    pub stamp: Option<Stamp>,
    /// Allow list: the rule counter of each prefix. Shared with the judge of open sessions.
    pub sources: Arc<PrefixMap<CounterId>>,
}

/// The complete live state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    pub databases: BTreeMap<DatabaseSlot, Database>,
    pub table: Table,
    /// The counters of one rule's single prefixes share their record.
    pub counters: BTreeMap<CounterId, Arc<RuleCounter>>,
    /// Ports marked as having a row in the endpoint table.
    pub claimed: Ports,
    pub guarded: Guards,
    pub blocks: BlockLists,
    /// Databases that are in force exactly as desired.
    pub confirmed: Confirmed,
    /// The highest generation ever assigned, published or not.
    pub generation: u64,
}

impl Live {
    /// The slot of every database, for callers with many lookups.
    #[must_use]
    pub fn slots(&self) -> BTreeMap<DatabaseId, DatabaseSlot> {
        self.databases.iter().map(|(slot, database)| (database.id.clone(), *slot)).collect()
    }

    /// Number of prefixes of all databases together.
    #[must_use]
    pub fn prefixes(&self) -> usize {
        self.databases.values().map(|database| database.sources.len()).sum()
    }

    /// Returns `true` if a destination is closed to everyone: by a tombstone, or as a guarded port without an open
    /// endpoint.
    #[must_use]
    pub fn is_closed(&self, destination: &Destination) -> bool {
        match self.table.endpoints.deciding(destination) {
            Some(entry) => *entry == TableEntry::Tombstone,
            None => self.guarded.contains(destination.port),
        }
    }

    /// Returns `true` if TCP packets that cannot open a connection pass at a destination, since its port is closed to new
    /// connections only and nothing claims it.
    #[must_use]
    pub fn admits_answers(&self, destination: &Destination) -> bool {
        let is_claimed = self.table.endpoints.deciding(destination).is_some();
        destination.protocol == Protocol::Tcp
            && self.guarded.new_connections().contains(destination.port)
            && !is_claimed
    }

    /// Returns `true` if a destination is open for the database in `slot`, itself or by a wildcard.
    #[must_use]
    pub fn is_open(&self, destination: &Destination, slot: DatabaseSlot) -> bool {
        self.table.endpoints.deciding(destination).and_then(TableEntry::slot) == Some(slot)
    }

    /// The slot of a database, by linear search; see [`Live::slots`].
    #[must_use]
    pub fn slot(&self, id: &DatabaseId) -> Option<DatabaseSlot> {
        self.databases.iter().find(|(_, database)| database.id == *id).map(|(slot, _)| *slot)
    }

    /// Every destination in the endpoint table with its database; `None` for a closed one.
    pub fn owners(&self) -> impl Iterator<Item = (Destination, Option<&DatabaseId>)> {
        self.table.endpoints.iter().map(|(destination, entry)| {
            let owner = match entry {
                TableEntry::Open { slot, .. } => self.databases.get(slot).map(|database| &database.id),
                TableEntry::Tombstone => None,
            };
            (*destination, owner)
        })
    }
}
