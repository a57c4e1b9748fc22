//! Restoration of the rules that were in force before a boot.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::data_plane::DataPlane;
use super::desired::{Desired, DesiredDatabase};
use super::in_force::{InForce, RulesInForce};
use super::model::{Destination, Live};
use super::persisted::PersistedState;
use super::remainder::common;
use super::room::crowded;
use crate::rules::DatabaseId;

/// State to publish before `desired`; `None` where nothing is to restore.
///
/// After a boot, a database with newer accepted rules first returns to the rules that were in force before the boot: new
/// databases must not take its capacity. The same applies to a database without capacity that a refused write left
/// closed in the middle of a publish. A database with any open endpoint stays as it is.
#[must_use]
pub fn restored(
    desired: &Desired,
    persisted: &PersistedState,
    live: &Live,
    data_plane: &impl DataPlane,
) -> Option<Desired> {
    let no_room = LazyCell::new(|| crowded(desired, live, data_plane));
    let stamp = |slot| live.databases.get(&slot).and_then(|live| live.stamp.as_ref());
    let is_absent = |id: &DatabaseId, revision: u64, wanted: &DesiredDatabase| {
        let Some(slot) = live.slot(id) else { return true };
        // Half published.
        !wanted.destinations.iter().any(|to| live.is_open(to, slot))
            && wanted.destinations.iter().any(|to| !desired.withheld.contains(to))
            && stamp(slot).is_none_or(|stamp| stamp.revision <= revision)
            && no_room.contains(id)
    };
    let (mut fallbacks, mut lost) = (BTreeMap::new(), BTreeSet::new());
    for (id, InForce { revision, rules, is_lost }) in persisted.in_force() {
        if let (Some(rules), Some(wanted)) = (rules, desired.databases.get(id))
            && is_absent(id, *revision, wanted)
        {
            let fallback = fallback(*revision, rules, wanted);
            if is_absent(id, *revision, &fallback) {
                fallbacks.insert(id.clone(), fallback);
                lost.extend(is_lost.then_some(id));
            }
        }
    }
    let before = with_fallbacks(desired, persisted, &fallbacks)?;
    if lost.is_empty() {
        return Some(before);
    }
    let no_room = crowded(&before, live, data_plane);
    fallbacks.retain(|id, _| !lost.contains(id) || !no_room.contains(id));
    with_fallbacks(desired, persisted, &fallbacks)
}

/// `desired` without new databases, and with each of `fallbacks` in place of its newer rules. Raises the limit of
/// endpoints by those of the fallbacks: they fitted before the boot, also where the addresses that replaced a wildcard
/// exceed the limit.
fn with_fallbacks(
    desired: &Desired,
    persisted: &PersistedState,
    fallbacks: &BTreeMap<DatabaseId, DesiredDatabase>,
) -> Option<Desired> {
    if fallbacks.is_empty() {
        return None;
    }
    let mut before = desired.clone();
    // Destinations that are not open yet are closed meanwhile.
    let closed = Arc::make_mut(&mut before.closed);
    closed.extend(desired.databases.values().flat_map(|wanted| &wanted.destinations).copied());
    before.databases.retain(|id, _| persisted.in_force().contains_key(id));
    for (id, fallback) in fallbacks {
        before.databases.insert(id.clone(), Arc::new(fallback.clone()));
        before.limits.endpoints = before.limits.endpoints.saturating_add(fallback.destinations.len());
    }
    Some(before)
}

/// The rules in force at `revision` without the sources and endpoints that the newer ones, `wanted`, no longer allow.
fn fallback(revision: u64, rules: &RulesInForce, wanted: &DesiredDatabase) -> DesiredDatabase {
    let RulesInForce { networks, destinations: before } = rules;
    let mut destinations: BTreeSet<Destination> =
        before.iter().filter(|to| wanted.claims(to)).copied().collect();
    // Addresses that replace a wildcard.
    let is_below = |to: &&Destination| before.contains(to) || before.contains(&to.everywhere());
    destinations.extend(wanted.destinations.iter().filter(is_below));
    DesiredDatabase { revision, destinations, set: common(networks, wanted, 0), ..wanted.clone() }
}
