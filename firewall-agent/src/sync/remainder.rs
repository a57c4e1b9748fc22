//! Rules that stay in force of a database whose new revision cannot be in force now.

use std::collections::BTreeSet;
use std::iter::successors;

use ipnet::IpNet;

use super::desired::DesiredDatabase;
use super::model::{Destination, Live, Slot};
use crate::rules::RuleSet;

/// The revision that is in force in `slot`, without the sources that the new one no longer allows: what was revoked or has expired
/// does not wait for room. `None` when nothing is there. It names no endpoints: those that stay are not its
/// matter.
///
/// It has at most `most` prefixes, or as many as are in force. Where the new revision names parts of a prefix that it no
/// longer allows as a whole, as many parts stay as that leaves room for.
pub(super) fn remainder(
    slot: Slot,
    wanted: &DesiredDatabase,
    most: usize,
    live: &Live,
) -> Option<DesiredDatabase> {
    let database = live.databases.get(&slot)?;
    let held = database.sources.iter().map(|(net, _)| net).collect();
    let set = common(&held, wanted, most);
    Some(DesiredDatabase {
        name: database.name.clone(),
        // After a publish that was cut off nobody knows which revision the list is of; it is none that is newer.
        revision: database.stamp.as_ref().map_or(database.floor, |stamp| stamp.revision),
        mode: wanted.mode,
        targets: BTreeSet::new(),
        set,
        lines: wanted.lines.clone(),
    })
}

/// The revision `held` of a database without the sources and endpoints that the newer one, `wanted`, no longer allows: for a
/// host that holds nothing of the database, as after a reboot.
#[must_use]
pub fn fallback(held: &DesiredDatabase, wanted: &DesiredDatabase) -> DesiredDatabase {
    let nets = held.set.iter().map(|(net, _)| net).collect();
    let mut targets: BTreeSet<Destination> =
        held.targets.iter().filter(|to| wanted.claims(to)).copied().collect();
    // Addresses in the place of a wildcard, as many as there is room for.
    let parts = wanted.targets.iter().filter(|to| held.claims(to) && !held.targets.contains(*to));
    targets.extend(parts.take(held.targets.len() - targets.len()).copied());
    DesiredDatabase { revision: held.revision, targets, set: common(&nets, wanted, 0), ..wanted.clone() }
}

/// Prefixes that both lists allow: at most `most`, or as many as `held` has.
fn common(held: &BTreeSet<IpNet>, wanted: &DesiredDatabase, most: usize) -> RuleSet {
    let mut set = RuleSet::default();
    for net in held {
        if let Some(key) = around(*net).find_map(|wider| wanted.set.get(&wider)) {
            set.allow(*net, key);
        }
    }
    if set.len() < held.len() {
        let most = most.max(held.len());
        for (net, key) in wanted.set.iter() {
            if set.len() < most && around(net).any(|wider| held.contains(&wider)) {
                set.allow(net, key);
            }
        }
    }
    set
}

/// The network and every wider one around it.
fn around(net: IpNet) -> impl Iterator<Item = IpNet> {
    successors(Some(net), IpNet::supernet)
}
