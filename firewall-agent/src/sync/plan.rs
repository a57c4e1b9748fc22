//! What a publish would change, worked out without one.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{
    desired::{Desired, DesiredDatabase},
    lines,
    model::{Claim, Database, Destination, LineKind, Live},
};
use crate::rules::{DatabaseId, LineKey, Mode};

/// A value before and after a publish; `None` where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn<T> {
    pub before: Option<T>,
    pub after: Option<T>,
}

/// The line that a prefix is counted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedOn {
    pub kind: LineKind,
    /// Rule id, or the CIDR of an internal range; empty for the default line.
    pub line: String,
}

/// What would change for one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub database: DatabaseId,
    /// Empty where its file gives none; without one before it is new to this host, without one after it leaves.
    pub name: Turn<String>,
    /// Before, `None` also when an apply was cut off: the database is published anew.
    pub revision: Turn<u64>,
    /// The prefixes that are allowed, or counted on another line, on one side only.
    pub prefixes: BTreeMap<IpNet, Turn<CountedOn>>,
    /// The endpoints that are open, or in another mode, on one side only. One that closes keeps a tombstone, unless
    /// another database opens it.
    pub endpoints: BTreeMap<Destination, Turn<Mode>>,
}

/// What publishing `desired` would change of `live`, by database; databases that stay as they are are left out.
///
/// It is not known here whether everything fits: a rule for which no line is free would be counted on the default line.
#[must_use]
pub fn plan(desired: &Desired, live: &Live) -> Vec<Change> {
    let before = standing(live);
    let after = wished(desired, before.clone());
    let ids: BTreeSet<&DatabaseId> = before.keys().chain(after.keys()).collect();
    let changes = ids.into_iter().map(|id| change(id, before.get(id), after.get(id)));
    changes.filter(|change| !change.is_empty()).collect()
}

impl Change {
    fn is_empty(&self) -> bool {
        !self.name.differs()
            && !self.revision.differs()
            && self.prefixes.is_empty()
            && self.endpoints.is_empty()
    }
}

impl<T: PartialEq> Turn<T> {
    fn differs(&self) -> bool {
        self.before != self.after
    }
}

/// What is in force for one database, slots left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Standing {
    name: String,
    revision: Option<u64>,
    prefixes: BTreeMap<IpNet, CountedOn>,
    endpoints: BTreeMap<Destination, Mode>,
}

fn standing(live: &Live) -> BTreeMap<DatabaseId, Standing> {
    let mut standing: BTreeMap<DatabaseId, Standing> =
        live.databases.values().map(|database| (database.id.clone(), published(database, live))).collect();
    for (target, claim) in &live.table.endpoints {
        if let Claim::Open { slot, mode, .. } = claim
            && let Some(database) = live.databases.get(slot)
            && let Some(standing) = standing.get_mut(&database.id)
        {
            standing.endpoints.insert(*target, *mode);
        }
    }
    standing
}

fn published(database: &Database, live: &Live) -> Standing {
    let sources = &database.sources;
    let v4 = sources.v4.iter().map(|(net, slot)| (IpNet::V4(*net), slot));
    let v6 = sources.v6.iter().map(|(net, slot)| (IpNet::V6(*net), slot));
    let counted_on = |slot| match live.lines.get(slot) {
        Some(line) => CountedOn { kind: line.kind.of_rule(), line: line.id.clone() },
        None => CountedOn { kind: LineKind::Default, line: String::new() },
    };
    Standing {
        name: database.name.clone(),
        revision: database.stamp.as_ref().map(|stamp| stamp.revision),
        prefixes: v4.chain(v6).map(|(net, slot)| (net, counted_on(slot))).collect(),
        endpoints: BTreeMap::new(),
    }
}

/// What would be in force after a publish of `desired`.
fn wished(desired: &Desired, mut standing: BTreeMap<DatabaseId, Standing>) -> BTreeMap<DatabaseId, Standing> {
    standing.retain(|id, _| !desired.removed.contains(id));
    for database in standing.values_mut() {
        let taken =
            |target: &Destination| desired.databases.values().any(|wish| wish.targets.contains(target));
        database.endpoints.retain(|target, _| !taken(target));
        if !desired.monitor {
            database.endpoints.values_mut().for_each(|mode| *mode = Mode::Enforce);
        }
    }
    standing.extend(desired.databases.iter().map(|(id, wish)| (id.clone(), wish.into())));
    standing
}

impl From<&DesiredDatabase> for Standing {
    fn from(wish: &DesiredDatabase) -> Self {
        let v4 = wish.set.v4.iter().map(|(net, key)| (IpNet::V4(*net), key));
        let v6 = wish.set.v6.iter().map(|(net, key)| (IpNet::V6(*net), key));
        let kind = |key: &LineKey| match (wish.lines.get(key), key) {
            (Some((kind, _)), _) => kind.clone(),
            (None, LineKey::Rule(_)) => LineKind::Custom,
            (None, LineKey::Internal(_)) => LineKind::Internal,
        };
        let counted_on = |key| CountedOn { kind: kind(key), line: lines::id(key) };
        Self {
            name: wish.name.clone(),
            revision: Some(wish.revision),
            prefixes: v4.chain(v6).map(|(net, key)| (net, counted_on(key))).collect(),
            endpoints: wish.targets.iter().map(|target| (*target, wish.mode)).collect(),
        }
    }
}

fn change(id: &DatabaseId, before: Option<&Standing>, after: Option<&Standing>) -> Change {
    let nothing = Standing::default();
    let (old, new) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
    let name = |standing: &Standing| standing.name.clone();
    Change {
        database: id.clone(),
        name: Turn { before: before.map(name), after: after.map(name) },
        revision: Turn { before: old.revision, after: new.revision },
        prefixes: turns(&old.prefixes, &new.prefixes),
        endpoints: turns(&old.endpoints, &new.endpoints),
    }
}

/// The entries that differ.
fn turns<K: Copy + Ord, V: Clone + PartialEq>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> BTreeMap<K, Turn<V>> {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .map(|key| (*key, Turn { before: before.get(key).cloned(), after: after.get(key).cloned() }))
        .filter(|(_, turn)| turn.differs())
        .collect()
}

#[cfg(test)]
mod tests;
