//! Assignment of rule counters.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::sync::Arc;

use anyhow::Result;
use ipnet::IpNet;

use super::{
    data_plane::DataPlane,
    desired::DesiredDatabase,
    hits::FreedCounter,
    model::{CounterId, CounterKind, DatabaseSlot, Indices, Live, RuleCounter},
};
use crate::rules::{CounterKey, PrefixMap};

/// Maximum number of prefixes of one rule with a counter of their own.
const PREFIXES_OF_A_RULE: usize = 256;

/// Counters of one database slot.
#[derive(Default)]
struct CountersOfSlot {
    /// Those of rules, the default counter included.
    rules: Vec<CounterId>,
    /// Number of counters, those of single prefixes included.
    in_use: usize,
}

/// Counters in use, collected once for all databases of a publish.
pub(super) struct Counters {
    slots: BTreeMap<DatabaseSlot, CountersOfSlot>,
    /// Counters that may be free: none below the start is.
    free: Peekable<Indices<CounterId>>,
    free_prefixes: Indices<CounterId>,
}

impl Counters {
    pub fn new(live: &Live, data_plane: &impl DataPlane) -> Self {
        let sizes = data_plane.sizes();
        let (free, free_prefixes) = (sizes.rule_counters(), sizes.prefix_counters());
        let mut slots: BTreeMap<DatabaseSlot, CountersOfSlot> = BTreeMap::new();
        let all: Vec<(CounterId, &RuleCounter)> =
            live.counters.iter().map(|(counter, rule)| (*counter, &**rule)).collect();
        // Most neighbours belong to one database.
        for together in all.chunk_by(|(_, one), (_, next)| one.database == next.database) {
            let Some((_, RuleCounter { database, .. })) = together.first() else { continue };
            let of_slot = slots.entry(*database).or_default();
            of_slot.in_use += together.len();
            let rules = together.iter().filter(|(_, rule)| !matches!(rule.kind, CounterKind::Prefix(_)));
            of_slot.rules.extend(rules.map(|(counter, _)| *counter));
        }
        Self { slots, free: free.peekable(), free_prefixes }
    }

    /// Number of counters of a database slot.
    pub fn in_use(&self, slot: DatabaseSlot) -> usize {
        self.slots.get(&slot).map_or(0, |of_slot| of_slot.in_use)
    }

    /// Returns whether a rule without a counter of its own can have one.
    pub fn has_free(&mut self, live: &Live) -> bool {
        while self.free.next_if(|counter| live.counters.contains_key(counter)).is_some() {}
        self.free.peek().is_some()
    }

    /// The counters of rules of a database slot, its default counter included.
    pub fn of(&self, slot: DatabaseSlot) -> &[CounterId] {
        self.slots.get(&slot).map_or(&[], |of_slot| of_slot.rules.as_slice())
    }
}

/// The counters of a database, each assigned and named.
pub(super) struct AssignedCounters {
    /// Counts packets that no rule allows.
    pub default: CounterId,
    rules: BTreeMap<CounterKey, CounterId>,
    /// Prefixes of managed ranges with a counter of their own.
    prefixes: BTreeMap<IpNet, CounterId>,
    /// Rules without a free counter, counted on the default counter: a lack of counters delays no publish.
    pub uncounted: usize,
}

impl AssignedCounters {
    /// Retains the counters that the database's rules have, and assigns free ones to new rules.
    pub fn assign(
        database: DatabaseSlot,
        desired: &DesiredDatabase,
        counters: &mut Counters,
        live: &mut Live,
        data_plane: &mut impl DataPlane,
    ) -> Result<Self> {
        // A counter is never renamed to another range: as long as the old allow list is in force, its prefixes would be
        // attributed to that range.
        let range = |kind: &CounterKind| kind.range().map(ToOwned::to_owned);
        let known: BTreeMap<(String, Option<String>), CounterId> = counters
            .of(database)
            .iter()
            .filter_map(|counter| Some((live.counters.get(counter)?, *counter)))
            .filter(|(rule, _)| rule.database == database && !matches!(rule.kind, CounterKind::Prefix(_)))
            .map(|(rule, counter)| ((rule.id.clone(), range(&rule.kind)), counter))
            .collect();
        let (rules, prefixes) = (BTreeMap::new(), BTreeMap::new());
        let mut assigned = Self { default: database.default_counter(), rules, prefixes, uncounted: 0 };
        name(assigned.default, rule(database, CounterKind::Default, String::new(), ""), live, data_plane)?;
        for (key, (kind, label)) in &desired.counters {
            let rule = rule(database, kind.clone(), id(key), label);
            let known = known.get(&(rule.id.clone(), range(kind))).copied();
            let Some(counter) = known.or_else(|| next_free(&mut counters.free, live)) else {
                assigned.uncounted += 1;
                continue;
            };
            name(counter, rule, live, data_plane)?;
            assigned.rules.insert(key.clone(), counter);
        }
        assigned.assign_prefixes(database, desired, counters, live, data_plane)?;
        Ok(assigned)
    }

    /// Assigns counters to the prefixes of managed ranges, as far as available. A prefix retains its counter as long as
    /// it is in force: changes of other databases do not affect it.
    fn assign_prefixes(
        &mut self,
        database: DatabaseSlot,
        desired: &DesiredDatabase,
        counters: &mut Counters,
        live: &mut Live,
        data_plane: &mut impl DataPlane,
    ) -> Result<()> {
        // Per managed rule, the record of its prefixes and the number of them with a counter.
        let managed = desired.counters.iter().filter_map(|(key, (kind, label))| {
            let CounterKind::Managed(range) = kind else { return None };
            Some((key, (rule(database, CounterKind::Prefix(range.clone()), id(key), label), 0)))
        });
        let mut managed: BTreeMap<&CounterKey, (Arc<RuleCounter>, usize)> = managed.collect();
        for (net, key) in desired.set.prefixes.iter() {
            let Some((rule, assigned)) = managed.get_mut(key) else { continue };
            let current = live.databases.get(&database).and_then(|one| one.sources.get(&net).copied());
            let current =
                current.filter(|counter| live.counters.get(counter).is_some_and(|known| known.id == rule.id));
            let counter = match current {
                Some(counter) if self.rules.get(key) == Some(&counter) => None,
                Some(counter) => Some(counter),
                None if *assigned < PREFIXES_OF_A_RULE => next_free(&mut counters.free_prefixes, live),
                None => None,
            };
            if let Some(counter) = counter {
                name(counter, Arc::clone(rule), live, data_plane)?;
                self.prefixes.insert(net, counter);
                *assigned += 1;
            }
        }
        Ok(())
    }

    /// The allow list with the counter of each prefix.
    pub fn sources(&self, desired: &DesiredDatabase) -> PrefixMap<CounterId> {
        desired.set.prefixes.map(|net, key| {
            self.prefixes.get(&net).or_else(|| self.rules.get(key)).copied().unwrap_or(self.default)
        })
    }

    /// Every counter in use.
    pub fn counters(&self) -> BTreeSet<CounterId> {
        self.rules.values().chain(self.prefixes.values()).copied().chain([self.default]).collect()
    }
}

/// Id of a rule within its database.
pub(super) fn id(key: &CounterKey) -> String {
    match key {
        CounterKey::Rule(id) => id.to_string(),
        CounterKey::Internal(cidr) => cidr.to_string(),
        CounterKey::Local(id) => id.to_string(),
    }
}

fn rule(database: DatabaseSlot, kind: CounterKind, id: String, label: &str) -> Arc<RuleCounter> {
    Arc::new(RuleCounter { database, kind, id, label: label.to_owned() })
}

/// The next free counter; those before it are not searched again.
pub(super) fn next_free(free: &mut impl Iterator<Item = CounterId>, live: &Live) -> Option<CounterId> {
    free.find(|counter| !live.counters.contains_key(counter))
}

/// Updates the record of a counter.
pub(super) fn name(
    counter: CounterId,
    rule: Arc<RuleCounter>,
    live: &mut Live,
    data_plane: &mut impl DataPlane,
) -> Result<()> {
    if live.counters.get(&counter) != Some(&rule) {
        data_plane.set_counter(counter, &rule)?;
        live.confirmed.remove(rule.database);
        live.counters.insert(counter, rule);
    }
    Ok(())
}

/// Frees the counters for which `unused` returns `true`, and adds them to `freed`.
pub(super) fn free_counters(
    mut unused: impl FnMut(CounterId, &RuleCounter) -> bool,
    live: &mut Live,
    data_plane: &mut impl DataPlane,
    freed: &mut BTreeMap<CounterId, FreedCounter>,
) -> Result<()> {
    let counters: Vec<CounterId> = live
        .counters
        .iter()
        .filter(|(counter, rule)| unused(**counter, rule))
        .map(|(counter, _)| *counter)
        .collect();
    if !counters.is_empty() {
        data_plane.synchronize()?;
        live.confirmed.remove_uncounted();
    }
    for counter in counters {
        data_plane.free_counter(counter)?;
        let Some(rule) = live.counters.remove(&counter) else { continue };
        live.confirmed.remove(rule.database);
        if let Some(database) = live.databases.get(&rule.database) {
            freed.insert(counter, FreedCounter { database: database.id.clone(), rule });
        }
    }
    Ok(())
}
