//! What the files ask for, ready to be compared with what is live.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::model::{Destination, LineKind, Ports};
use crate::rules::{
    DatabaseId, DatabaseRules, LineKey, ManagedRanges, Mode, RangeId, RuleSet, Source, State, compile,
};

/// What one database's file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredDatabase {
    pub name: String,
    pub revision: u64,
    pub mode: Mode,
    pub targets: BTreeSet<Destination>,
    pub set: RuleSet,
    /// Kind and label of every line of the file, used by a prefix or not.
    pub lines: BTreeMap<LineKey, (LineKind, String)>,
}

/// What all admitted files ask for. A database that is not named here stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    pub databases: BTreeMap<DatabaseId, DesiredDatabase>,
    /// Databases whose file says that they leave this host.
    pub removed: BTreeSet<DatabaseId>,
    pub guarded: Ports,
    /// Whether this host takes monitor mode at all; if not, no database stays in it.
    pub monitor: bool,
    /// Every destination that must stay closed where no endpoint is open: tombstones are these and no others, beside
    /// what this publish itself closes. A destination may be named here and in a database.
    pub closed: BTreeSet<Destination>,
    /// Destinations that lose their tombstone, whatever else is said here of them.
    pub opened: BTreeSet<Destination>,
    /// Destinations of databases whose claim is not stored yet. They are closed, unless they are open already for the
    /// same database: nothing may be open that a reboot would leave open to everyone.
    pub withheld: BTreeSet<Destination>,
    /// Databases that were in force before a reboot: they get room before any newcomer.
    pub first: BTreeSet<DatabaseId>,
    /// What may be published at most.
    pub limits: Capacity,
    /// Nothing is freed: programs of another map layout still count on it.
    pub keeps: bool,
    /// Destinations that accepted files of several databases claim, with these. No database has them, and they are closed.
    pub contended: BTreeMap<Destination, BTreeSet<DatabaseId>>,
}

/// How much fits on this host, all databases together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    pub endpoints: usize,
    pub prefixes: usize,
    /// Bytes that may still be used.
    pub memory: u64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { endpoints: usize::MAX, prefixes: usize::MAX, memory: u64::MAX }
    }
}

impl Desired {
    /// Adds one admitted file, its rules resolved against `ranges` at `now`.
    pub fn add(&mut self, rules: &DatabaseRules, ranges: &ManagedRanges, now: Timestamp) {
        match rules.state {
            State::Removed => {
                self.removed.insert(rules.id.clone());
            }
            State::Active => {
                self.databases.insert(rules.id.clone(), desired(rules, ranges, now));
            }
        }
    }

    /// Ranges that some rule names and the managed ranges do not hold, by database.
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

fn desired(rules: &DatabaseRules, ranges: &ManagedRanges, now: Timestamp) -> DesiredDatabase {
    let customer = rules.rules.iter().map(|rule| {
        let (kind, name) = match &rule.source {
            Source::Custom(_) => (LineKind::Custom, None),
            Source::Managed(range) => (
                LineKind::Managed(range.to_string()),
                ranges.ranges.get(range).map(|range| range.name.clone()),
            ),
        };
        (LineKey::Rule(rule.id.clone()), (kind, rule.label.clone().or(name).unwrap_or_default()))
    });
    let internal = rules.internal_ranges.iter().map(|range| {
        (LineKey::Internal(range.cidr.trunc()), (LineKind::Internal, range.label.clone().unwrap_or_default()))
    });
    DesiredDatabase {
        name: rules.name.clone().unwrap_or_default(),
        revision: rules.revision,
        mode: rules.mode,
        targets: destinations(rules),
        set: compile(rules, ranges, now),
        lines: customer.chain(internal).collect(),
    }
}
