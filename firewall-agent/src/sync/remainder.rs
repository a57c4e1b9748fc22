//! Rules that stay in force while a database's new revision cannot be published.

use std::collections::BTreeSet;
use std::iter::successors;

use ipnet::IpNet;

use super::desired::DesiredDatabase;
use super::model::{DatabaseSlot, Live};
use crate::rules::RuleSet;

/// The revision in force in `slot`, without the sources that the new one no longer allows: revocations and expiries do
/// not wait for capacity. `None` when the slot is empty. The result claims no destinations: endpoints are decided
/// elsewhere.
///
/// It has at most `most` prefixes, or as many as are in force. Where the new revision allows only parts of a prefix, it
/// includes as many parts as fit.
pub(super) fn remainder(
    slot: DatabaseSlot,
    wanted: &DesiredDatabase,
    most: usize,
    live: &Live,
) -> Option<DesiredDatabase> {
    let database = live.databases.get(&slot)?;
    let current = database.sources.keys().collect();
    let set = common(&current, wanted, most);
    Some(DesiredDatabase {
        name: database.name.clone(),
        // After an interrupted publish the revision of the list is unknown, but no newer than the floor.
        revision: database.stamp.as_ref().map_or(database.floor, |stamp| stamp.revision),
        mode: wanted.mode,
        destinations: BTreeSet::new(),
        set,
        is_closed: wanted.is_closed,
        counters: wanted.counters.clone(),
    })
}

/// Prefixes that both lists allow: at most `most`, or as many as `current` has.
pub(super) fn common(current: &BTreeSet<IpNet>, wanted: &DesiredDatabase, most: usize) -> RuleSet {
    let mut set = RuleSet::default();
    for net in current {
        if let Some(key) = around(*net).find_map(|wider| wanted.set.prefixes.get(&wider)) {
            set.allow(*net, key);
        }
    }
    if set.prefixes.len() < current.len() {
        let most = most.max(current.len());
        for (net, key) in wanted.set.prefixes.iter() {
            if set.prefixes.len() < most && around(net).any(|wider| current.contains(&wider)) {
                set.allow(net, key);
            }
        }
    }
    set
}

/// The network and every supernet of it.
pub(super) fn around(net: IpNet) -> impl Iterator<Item = IpNet> {
    successors(Some(net), IpNet::supernet)
}
