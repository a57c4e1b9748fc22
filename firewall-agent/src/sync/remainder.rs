//! What stays in force of a database whose new revision does not fit on this host.

use std::collections::BTreeSet;
use std::iter::successors;

use ipnet::IpNet;

use super::desired::DesiredDatabase;
use super::model::{Claim, Live};
use crate::rules::{DatabaseId, Mode, RuleSet};

/// The revision that is in force, with its endpoints and its mode, without the sources that the new one no longer allows:
/// what was revoked or has expired does not wait for room. `None` when nothing is known to be in force.
///
/// It never has more prefixes than are in force. Where the new revision names parts of a prefix that it no longer allows
/// as a whole, as many parts stay as that leaves room for.
pub(super) fn remainder(id: &DatabaseId, wanted: &DesiredDatabase, live: &Live) -> Option<DesiredDatabase> {
    let slot = live.slot(id)?;
    let database = live.databases.get(&slot)?;
    let mut mode = Mode::Enforce;
    let mut targets = BTreeSet::new();
    for (target, claim) in &live.table.endpoints {
        if let Claim::Open { slot: owner, mode: held, .. } = claim
            && *owner == slot
        {
            mode = *held;
            targets.insert(*target);
        }
    }
    let held = &database.sources;
    let mut set = RuleSet::default();
    for (net, _) in held.iter() {
        if let Some(key) = around(net).find_map(|wider| wanted.set.get(&wider)) {
            set.allow(net, key);
        }
    }
    for (net, key) in wanted.set.iter() {
        if set.len() < held.len() && around(net).any(|wider| held.get(&wider).is_some()) {
            set.allow(net, key);
        }
    }
    Some(DesiredDatabase {
        name: database.name.clone(),
        revision: database.stamp.as_ref()?.revision,
        mode,
        targets,
        set,
        lines: wanted.lines.clone(),
    })
}

/// The network and every wider one around it.
fn around(net: IpNet) -> impl Iterator<Item = IpNet> {
    successors(Some(net), IpNet::supernet)
}
