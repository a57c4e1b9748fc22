//! The endpoint table's way from what is live to what is desired: first what leaves, in the end what is new.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Error;

use super::{
    desired::{Desired, DesiredDatabase},
    lines::Lines,
    model::{Claim, Endpoints, Live, Slot, Target},
};
use crate::rules::{DatabaseId, Mode};

/// The live endpoints with tombstones where some leave, and with the databases that are to be watched only passing
/// everything: a source that leaves their allow list must not be cut in between. What is refused stays as it is, and so
/// does for now what a wildcard of the same database takes the place of; of a wildcard that leaves, the addresses that
/// are still wanted stay open.
pub(super) fn closed(desired: &Desired, refused: &BTreeMap<DatabaseId, Error>, live: &Live) -> Endpoints {
    let mut endpoints = live.table.endpoints.clone();
    let mut kept = Endpoints::new();
    for (target, claim) in &mut endpoints {
        let Claim::Open { slot, mode, .. } = claim else { continue };
        let Some(owner) = live.databases.get(slot).map(|database| &database.id) else {
            // Nobody's: left by a change of map layout that was cut off.
            *claim = Claim::Closed;
            continue;
        };
        match desired.databases.get(owner).filter(|_| !refused.contains_key(owner)) {
            Some(database) if !database.targets.iter().any(|one| one.covers(target)) => {
                if database.mode == Mode::Monitor {
                    *mode = Mode::Monitor;
                }
                let within = database.targets.iter().filter(|one| target.covers(one));
                kept.extend(within.map(|one| (*one, *claim)));
                *claim = Claim::Closed;
            }
            None if desired.removed.contains(owner) => *claim = Claim::Closed,
            // No file that may say so asks for monitor mode any more.
            None if !desired.monitor => *mode = Mode::Enforce,
            Some(database) if database.mode == Mode::Monitor => *mode = Mode::Monitor,
            Some(_) | None => {}
        }
    }
    for (target, claim) in kept {
        endpoints.entry(target).or_insert(claim);
    }
    for target in &desired.closed {
        // Below a wildcard that stands, a tombstone would cut what is allowed there.
        if !endpoints.keys().any(|other| other.covers(target)) {
            endpoints.insert(*target, Claim::Closed);
        }
    }
    endpoints.retain(|target, claim| *claim != Claim::Closed || !desired.opened.contains(target));
    endpoints
}

/// The databases with an endpoint that is not live as it stands in `endpoints`.
pub(super) fn differing(endpoints: &Endpoints, live: &Live) -> BTreeSet<Slot> {
    let live = live.table.endpoints.iter().filter(|(target, claim)| endpoints.get(*target) != Some(*claim));
    live.filter_map(|(_, claim)| match claim {
        Claim::Open { slot, .. } => Some(*slot),
        Claim::Closed => None,
    })
    .collect()
}

/// The table with every endpoint of the given databases open.
pub(super) fn opened(open: &BTreeMap<Slot, (&DesiredDatabase, Lines)>, live: &Live) -> Endpoints {
    let mut endpoints = live.table.endpoints.clone();
    for (slot, (database, lines)) in open {
        for target in &database.targets {
            // Tombstones, and addresses of its own that are no longer named by themselves.
            let gives_way = |other: &Target, claim: &Claim| match claim {
                Claim::Closed => true,
                Claim::Open { slot: owner, .. } => owner == slot && !database.targets.contains(other),
            };
            endpoints.retain(|other, claim| !(target.covers(other) && gives_way(other, claim)));
            let claim = Claim::Open { slot: *slot, mode: database.mode, default_line: lines.default };
            endpoints.insert(*target, claim);
        }
    }
    endpoints
}

/// Closes the endpoints of databases that could not be published and have nothing in force there: a file that was taken
/// says that they are protected, so they are not left open to everyone.
pub(super) fn shut(endpoints: &mut Endpoints, desired: &Desired, failed: &BTreeMap<DatabaseId, Error>) {
    let databases = failed.keys().filter_map(|id| desired.databases.get(id));
    for target in databases.flat_map(|database| &database.targets) {
        if !endpoints.keys().any(|other| other.covers(target)) {
            endpoints.insert(*target, Claim::Closed);
        }
    }
}
