//! Detection of databases in force exactly as desired, without a write and without an allocation per prefix; and the
//! memory of it, so that each is compared once.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use ipnet::IpNet;

use super::counters::{Counters, id};
use super::desired::DesiredDatabase;
use super::model::{CounterId, CounterKind, DatabaseSlot, Live, RuleCounter};
use crate::rules::CounterKey;

/// Databases that a comparison found in force exactly as desired, each with that desired state and its number of rules
/// without a counter of their own. A change of a database in the live state, or of a counter of it, removes it here; so
/// does a free counter that one of its rules could have. One that is missing is compared again.
#[derive(Debug, Clone, Default)]
pub struct Confirmed(BTreeMap<DatabaseSlot, (Arc<DesiredDatabase>, usize)>);

/// Follows from the rest of the live state, and so is no part of a comparison.
impl PartialEq for Confirmed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Confirmed {}

impl Confirmed {
    /// Returns the number of rules without a counter if a slot was found to have this desired state, the same allocation
    /// of it.
    pub(super) fn uncounted(&self, slot: DatabaseSlot, desired: &Arc<DesiredDatabase>) -> Option<usize> {
        let (confirmed, uncounted) = self.0.get(&slot)?;
        Arc::ptr_eq(confirmed, desired).then_some(*uncounted)
    }

    pub(super) fn insert(&mut self, slot: DatabaseSlot, desired: Arc<DesiredDatabase>, uncounted: usize) {
        self.0.insert(slot, (desired, uncounted));
    }

    /// Removes the databases with rules that could have a counter that is free now.
    pub(super) fn remove_uncounted(&mut self) {
        self.0.retain(|_, (_, uncounted)| *uncounted == 0);
    }

    pub(super) fn remove(&mut self, slot: DatabaseSlot) {
        self.0.remove(&slot);
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (DatabaseSlot, &DesiredDatabase, usize)> {
        self.0.iter().map(|(slot, (desired, uncounted))| (*slot, &**desired, *uncounted))
    }
}

/// Returns the number of rules without a counter of their own if the revision, the allow list and every counter of `slot`
/// equal those of `desired`, no other counter belongs to it, and none is free for such a rule; `None` otherwise.
/// Endpoints are not compared.
pub(super) fn unchanged(
    slot: DatabaseSlot,
    desired: &DesiredDatabase,
    counters: &mut Counters,
    live: &Live,
) -> Option<usize> {
    let database = live.databases.get(&slot)?;
    let stamp = database.stamp.as_ref()?;
    let default = slot.default_counter();
    let same = stamp.revision == desired.revision
        && database.name == desired.name
        && database.default_counter == default
        && database.sources.v4.len() == desired.set.prefixes.v4.len()
        && database.sources.v6.len() == desired.set.prefixes.v6.len();
    if !same {
        return None;
    }
    let rules = Rules::find(slot, desired, counters, live)?;
    let uncounted = desired.counters.len() - rules.counters.len();
    if uncounted > 0 && counters.has_free(live) {
        return None;
    }
    let own = rules.count_prefixes(desired, live)?;
    (counters.in_use(slot) == 1 + rules.counters.len() + own).then_some(uncounted)
}

/// Counters that match the desired database.
struct Rules<'a> {
    slot: DatabaseSlot,
    counters: BTreeMap<&'a CounterKey, (CounterId, &'a RuleCounter)>,
}

impl<'a> Rules<'a> {
    /// Returns `None` unless the default of the database, and each of its rules with a counter, has exactly one with its
    /// name.
    fn find(
        slot: DatabaseSlot,
        desired: &'a DesiredDatabase,
        counters: &Counters,
        live: &'a Live,
    ) -> Option<Self> {
        let by_id: BTreeMap<String, (&CounterKey, &(CounterKind, String))> =
            desired.counters.iter().map(|(key, named)| (id(key), (key, named))).collect();
        let mut found = BTreeMap::new();
        let of_rules = counters.of(slot);
        for number in of_rules {
            let rule = live.counters.get(number)?;
            if *number == slot.default_counter() {
                let named = rule.kind == CounterKind::Default && rule.id.is_empty() && rule.label.is_empty();
                if !named {
                    return None;
                }
                continue;
            }
            let (key, (kind, label)) = by_id.get(&rule.id)?;
            if rule.kind != *kind || rule.label != *label {
                return None;
            }
            found.insert(*key, (*number, &**rule));
        }
        let is_complete = of_rules.len() == found.len() + 1;
        is_complete.then_some(Self { slot, counters: found })
    }

    /// Number of prefixes with a counter of their own; `None` unless all prefixes are in force, each on the counter
    /// that a publish would assign.
    fn count_prefixes(&self, desired: &DesiredDatabase, live: &Live) -> Option<usize> {
        let sources = &live.databases.get(&self.slot)?.sources;
        let mut walk = Walk::new(&live.counters);
        let (mut own, mut last) = (0, None);
        for ((net, key), (live_net, counter)) in desired.set.prefixes.iter().zip(sources.iter()) {
            let rule = match last {
                Some((before, rule)) if before == key => rule,
                _ => self.counters.get(key).copied(),
            };
            last = Some((key, rule));
            own += usize::from(self.counts((net, rule), (live_net, *counter), &mut walk)?);
        }
        Some(own)
    }

    /// Returns `true` if a prefix has a counter of its own; `None` when it is not in force, or counted elsewhere.
    fn counts(
        &self,
        (net, rule): (IpNet, Option<(CounterId, &RuleCounter)>),
        (live_net, counter): (IpNet, CounterId),
        walk: &mut Walk<'_>,
    ) -> Option<bool> {
        if net != live_net {
            return None;
        }
        let Some((number, rule)) = rule else {
            return (counter == self.slot.default_counter()).then_some(false);
        };
        if number == counter {
            return Some(false);
        }
        let found = walk.get(counter)?;
        let is_own = found.database == self.slot && found.id == rule.id && found.label == rule.label;
        match (&found.kind, &rule.kind) {
            (CounterKind::Prefix(one), CounterKind::Managed(range)) if is_own && one == range => Some(true),
            _ => None,
        }
    }
}

/// Lookups of counters in mostly consecutive order.
struct Walk<'a> {
    counters: &'a BTreeMap<CounterId, Arc<RuleCounter>>,
    ahead: btree_map::Range<'a, CounterId, Arc<RuleCounter>>,
}

impl<'a> Walk<'a> {
    fn new(counters: &'a BTreeMap<CounterId, Arc<RuleCounter>>) -> Self {
        Self { counters, ahead: counters.range(..) }
    }

    fn get(&mut self, number: CounterId) -> Option<&'a RuleCounter> {
        match self.ahead.next() {
            Some((next, rule)) if *next == number => return Some(&**rule),
            Some(_) | None => {}
        }
        self.ahead = self.counters.range(number..);
        self.ahead.next().filter(|(next, _)| **next == number).map(|(_, rule)| &**rule)
    }
}
