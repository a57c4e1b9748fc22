//! Dry run of a publish.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use jiff::Timestamp;

use super::{
    block_list::{BlockId, BlockListKind},
    data_plane::Sizes,
    desired::Desired,
    dry_run::DryRun,
    model::{CounterKind, Database, Destination, Live},
    open_endpoints::OpenEndpoint,
    persisted::PersistedState,
    publish::publish,
    restoration::restored,
};
use crate::rules::{DatabaseId, Mode};

/// A value before and after a publish; `None` if absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition<T> {
    pub before: Option<T>,
    pub after: Option<T>,
}

/// The counter of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedOn {
    pub kind: CounterKind,
    /// Rule id, or the CIDR of an internal range; empty for the default counter.
    pub rule: String,
}

/// Changes of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub database: DatabaseId,
    /// Empty where its file has no name; `before` is `None` for a new database, `after` for a leaving one.
    pub name: Transition<String>,
    /// `before` is `None` also after an interrupted publish: the database is published again.
    pub revision: Transition<u64>,
    /// Prefixes that are allowed on one side only, or counted on different counters.
    pub prefixes: BTreeMap<IpNet, Transition<CountedOn>>,
    /// Endpoints that are open on one side only, or in different modes.
    pub endpoints: BTreeMap<Destination, Transition<Mode>>,
    /// Those of `endpoints` that become closed to everyone, by a tombstone or a guarded port.
    pub closed: BTreeSet<Destination>,
}

/// Result of a dry run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// By database, without those that do not change.
    pub changes: Vec<Change>,
    /// Tombstones added or removed. Without a socket filter a guarded port has none: its destinations are closed anyway.
    pub tombstones: BTreeMap<Destination, Transition<()>>,
    /// Sources that come to a block list, leave it, or count on another entry; by the database, or `None` for every
    /// endpoint. With the id of the range or of the overlay's entry.
    pub blocked: BTreeMap<(Option<DatabaseId>, IpNet), Transition<BlockId>>,
    /// Databases that would not reach the desired state, with the reason.
    pub failed: BTreeMap<DatabaseId, String>,
    /// Rules, by database, that would have no counter of their own.
    pub uncounted: BTreeMap<DatabaseId, usize>,
    /// Failures not of a single database.
    pub errors: Vec<String>,
    /// Live state after the publish: input for a further plan, such as at the next expiry.
    pub after: Live,
}

/// Publishes `desired` to a fake data plane that contains `live`, after the rules that a boot restores, and compares.
/// `now` is the time of the publish; the rules of `desired` were compiled for it.
///
/// A write that the kernel refuses is not foreseen.
#[must_use]
pub fn plan(
    desired: &Desired,
    persisted: &PersistedState,
    live: &Live,
    sizes: Sizes,
    now: Timestamp,
) -> Plan {
    let mut after = live.clone();
    let mut data_plane = DryRun::new(live.clone(), sizes);
    let before = restored(desired, persisted, live, &data_plane);
    let before = before.map(|before| publish(&before, &mut after, &mut data_plane, now));
    let done = before.unwrap_or_default().followed_by(publish(desired, &mut after, &mut data_plane, now));
    let (before, then) = (published_states(live), published_states(&after));
    let ids: BTreeSet<&DatabaseId> = before.keys().chain(then.keys()).collect();
    let changes = ids.into_iter().map(|id| change(id, before.get(id), then.get(id), &after));
    Plan {
        changes: changes.filter(|change| !change.is_empty()).collect(),
        tombstones: transitions(&tombstones(live), &tombstones(&after)),
        blocked: blocked_changes(live, &after),
        failed: done.failed.into_iter().map(|(id, error)| (id, format!("{error:#}"))).collect(),
        uncounted: done.uncounted,
        errors: done.errors.iter().map(|error| format!("{error:#}")).collect(),
        after,
    }
}

impl Change {
    fn is_empty(&self) -> bool {
        !self.name.differs()
            && !self.revision.differs()
            && self.prefixes.is_empty()
            && self.endpoints.is_empty()
    }
}

impl<T: PartialEq> Transition<T> {
    fn differs(&self) -> bool {
        self.before != self.after
    }
}

/// State in force for one database, without slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct PublishedState {
    name: String,
    revision: Option<u64>,
    prefixes: BTreeMap<IpNet, CountedOn>,
    endpoints: BTreeMap<Destination, Mode>,
}

fn published_states(live: &Live) -> BTreeMap<DatabaseId, PublishedState> {
    let open = live.open_endpoints();
    let databases = live.databases.iter();
    databases
        .map(|(slot, database)| (database.id.clone(), published(database, open.of(*slot), live)))
        .collect()
}

fn published(database: &Database, open: &[OpenEndpoint], live: &Live) -> PublishedState {
    let counted_on = |counter| match live.counters.get(counter) {
        Some(rule) => CountedOn { kind: rule.kind.of_rule(), rule: rule.id.clone() },
        None => CountedOn { kind: CounterKind::Default, rule: String::new() },
    };
    PublishedState {
        name: database.name.clone(),
        revision: database.stamp.as_ref().map(|stamp| stamp.revision),
        prefixes: database.sources.iter().map(|(net, counter)| (net, counted_on(counter))).collect(),
        endpoints: open.iter().map(|endpoint| (endpoint.destination, endpoint.mode)).collect(),
    }
}

fn blocked_changes(
    before: &Live,
    after: &Live,
) -> BTreeMap<(Option<DatabaseId>, IpNet), Transition<BlockId>> {
    if before.blocks == after.blocks {
        return BTreeMap::new();
    }
    let blocked = |live: &Live| {
        let mut blocked = BTreeMap::new();
        for (source, id) in BlockListKind::ALL.iter().flat_map(|kind| live.blocks.get(*kind).sources.iter()) {
            let database = source.database.and_then(|slot| live.databases.get(&slot));
            blocked.insert((database.map(|one| one.id.clone()), source.net), id.clone());
        }
        blocked
    };
    transitions(&blocked(before), &blocked(after))
}

fn tombstones(live: &Live) -> BTreeMap<Destination, ()> {
    live.table.endpoints.closed().iter().map(|destination| (*destination, ())).collect()
}

fn change(
    id: &DatabaseId,
    before: Option<&PublishedState>,
    then: Option<&PublishedState>,
    after: &Live,
) -> Change {
    let nothing = PublishedState::default();
    let (old, new) = (before.unwrap_or(&nothing), then.unwrap_or(&nothing));
    let name = |state: &PublishedState| state.name.clone();
    let endpoints = transitions(&old.endpoints, &new.endpoints);
    let leaving = endpoints.iter().filter(|(_, transition)| transition.after.is_none()).map(|(to, _)| *to);
    Change {
        database: id.clone(),
        name: Transition { before: before.map(name), after: then.map(name) },
        revision: Transition { before: old.revision, after: new.revision },
        prefixes: transitions(&old.prefixes, &new.prefixes),
        closed: leaving.filter(|to| after.is_closed(to)).collect(),
        endpoints,
    }
}

/// The entries that differ.
fn transitions<K: Clone + Ord, V: Clone + PartialEq>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> BTreeMap<K, Transition<V>> {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .map(|key| {
            (key.clone(), Transition { before: before.get(key).cloned(), after: after.get(key).cloned() })
        })
        .filter(|(_, transition)| transition.differs())
        .collect()
}

#[cfg(test)]
mod tests;
