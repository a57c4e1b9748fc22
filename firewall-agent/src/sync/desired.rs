//! Desired state of the rule files, in a form comparable with the live state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::block_list::{BlockId, BlockListKind, BlockedSource, BlockedSources};
use super::blocked_ranges::BlockedRanges;
use super::claimed_destinations::ClaimedDestinations;
use super::model::{CounterKind, DatabaseSlot, Destination, Guards};
use super::overlay::LocalBlock;
use crate::rules::{
    CounterKey, DatabaseId, DatabaseRules, ManagedRanges, Mode, RangeId, RuleSet, Source, State, compile,
};

/// Desired state of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredDatabase {
    pub name: String,
    pub revision: u64,
    pub mode: Mode,
    pub destinations: BTreeSet<Destination>,
    pub set: RuleSet,
    /// The overlay closes every destination.
    pub is_closed: bool,
    /// Kind and label of every rule of the file, used by a prefix or not.
    pub counters: BTreeMap<CounterKey, (CounterKind, String)>,
}

/// Desired state of all admitted files. A database missing here stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Shared with the compiled rules of the accepted files.
    pub databases: BTreeMap<DatabaseId, Arc<DesiredDatabase>>,
    /// Databases that leave this host: removed by their file, or forgotten.
    pub removed: BTreeSet<DatabaseId>,
    pub guarded: Guards,
    /// A socket filter judges packets, too. At a guarded port it asks every database about a destination without a row.
    pub judges_sockets: bool,
    /// This host permits monitor mode; otherwise no database stays in it.
    pub monitor: bool,
    /// Every destination that must be closed unless an endpoint is open there: tombstones are exactly these and those
    /// that this publish itself closes. A destination may be both here and in a database.
    pub closed: Arc<ClaimedDestinations>,
    /// Destinations that lose their tombstone, regardless of the other fields.
    pub opened: BTreeSet<Destination>,
    /// Destinations of databases whose claim is not stored yet. They are closed, unless already open for the same
    /// database: an endpoint without a stored claim would be open to everyone after a reboot.
    pub withheld: BTreeSet<Destination>,
    /// Databases that were in force before a reboot at the accepted revision: they get capacity before a
    /// fallback to an older revision, and before newcomers.
    pub first: BTreeSet<DatabaseId>,
    /// Capacity available for a publish.
    pub limits: Capacity,
    /// Nothing is freed: programs of another map layout still use it.
    pub frees_nothing: bool,
    /// Destinations that accepted files of several databases claim, with these databases. They are removed from the
    /// databases and closed.
    pub contended: BTreeMap<Destination, BTreeSet<DatabaseId>>,
    pub blocked_ranges: Arc<BlockedRanges>,
    /// Blocks of the overlay.
    pub local_blocks: Vec<LocalBlock>,
}

/// Capacity of this host, for all databases together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    pub endpoints: usize,
    pub prefixes: usize,
    /// Bytes available.
    pub memory: u64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { endpoints: usize::MAX, prefixes: usize::MAX, memory: u64::MAX }
    }
}

impl Desired {
    /// Returns `true` if a closed destination at this port needs no tombstone.
    pub(super) fn closes_without_tombstone(&self, port: u16) -> bool {
        !self.judges_sockets && self.guarded.strict().contains(port)
    }

    /// Entries of a block list. One at a database without a slot is left out: the database has no endpoint yet.
    pub(super) fn blocked_sources(
        &self,
        kind: BlockListKind,
        slots: &BTreeMap<DatabaseId, DatabaseSlot>,
    ) -> Arc<BlockedSources> {
        match kind {
            BlockListKind::Ranges => Arc::clone(&self.blocked_ranges.sources),
            BlockListKind::Local => {
                let entry = |block: &LocalBlock| {
                    let database = match &block.database {
                        Some(id) => Some(*slots.get(id)?),
                        None => None,
                    };
                    Some((BlockedSource { database, net: block.source.trunc() }, block.id.as_str().into()))
                };
                Arc::new(self.local_blocks.iter().filter_map(entry).collect())
            }
        }
    }

    /// Text for people about an id of a block list.
    pub(super) fn block_label(&self, kind: BlockListKind, id: &BlockId) -> Option<&str> {
        match kind {
            BlockListKind::Ranges => self.blocked_ranges.names.get(id).map(String::as_str),
            BlockListKind::Local => {
                let block = self.local_blocks.iter().find(|block| block.id.as_str() == &**id)?;
                Some(&block.note)
            }
        }
    }

    /// Adds one admitted file, its rules resolved against `ranges` at `now`.
    pub fn add(&mut self, rules: &DatabaseRules, ranges: &ManagedRanges, now: Timestamp) {
        self.add_compiled(rules, || Arc::new(desired(rules, ranges, now)));
    }

    /// As `add`, with the compiled rules of an active file.
    pub(super) fn add_compiled(
        &mut self,
        rules: &DatabaseRules,
        compiled: impl FnOnce() -> Arc<DesiredDatabase>,
    ) {
        match rules.state {
            State::Removed => _ = self.removed.insert(rules.id.clone()),
            State::Active => _ = self.databases.insert(rules.id.clone(), compiled()),
        }
    }

    /// Ranges that rules reference and the managed ranges lack, by database.
    #[must_use]
    pub fn unresolved(&self) -> BTreeMap<&DatabaseId, &BTreeSet<RangeId>> {
        self.databases
            .iter()
            .filter(|(_, database)| !database.set.unresolved.is_empty())
            .map(|(id, database)| (id, &database.set.unresolved))
            .collect()
    }
}

/// The destinations that a file claims.
#[must_use]
pub fn destinations(rules: &DatabaseRules) -> BTreeSet<Destination> {
    rules
        .endpoints
        .iter()
        .map(|endpoint| Destination {
            address: endpoint.address,
            port: endpoint.port.get(),
            protocol: endpoint.protocol,
        })
        .collect()
}

/// Desired state of one file.
pub(super) fn desired(rules: &DatabaseRules, ranges: &ManagedRanges, now: Timestamp) -> DesiredDatabase {
    let customer = rules.rules.iter().map(|rule| {
        let (kind, name) = match &rule.source {
            Source::Custom(_) => (CounterKind::Custom, None),
            Source::Managed(range) => (
                CounterKind::Managed(range.to_string()),
                ranges.ranges.get(range).map(|range| range.name.clone()),
            ),
        };
        (CounterKey::Rule(rule.id.clone()), (kind, rule.label.clone().or(name).unwrap_or_default()))
    });
    let internal = rules.internal_ranges.iter().map(|range| {
        (
            CounterKey::Internal(range.cidr.trunc()),
            (CounterKind::Internal, range.label.clone().unwrap_or_default()),
        )
    });
    DesiredDatabase {
        name: rules.name.clone().unwrap_or_default(),
        revision: rules.revision,
        mode: rules.mode,
        destinations: destinations(rules),
        set: compile(rules, ranges, now),
        is_closed: false,
        counters: customer.chain(internal).collect(),
    }
}
