//! What fits on this host: asked of all databases together, before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Error, Result, ensure};

use super::desired::{Capacity, Desired, DesiredDatabase};
use super::model::{Claim, Live, Slot, Target};
use crate::rules::DatabaseId;

/// What a prefix takes in a trie of the kernel, in bytes, measured on Linux 6.18.
const BYTES_OF_A_PREFIX: u64 = 144;

/// What one database holds.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    prefixes: usize,
    endpoints: usize,
}

/// The databases that do not fit, and why. One that does not grow always fits: a revocation must.
///
/// Tombstones count as endpoints, but where a guard closes the port anyway: they would only add up.
pub(super) fn crowded(desired: &Desired, live: &Live) -> BTreeMap<DatabaseId, Error> {
    let counts = |target: &Target| !desired.guarded.contains(&target.port);
    let of = |slot: Slot| {
        let endpoints = live.table.endpoints.iter();
        let ours = move |claim: &Claim| matches!(claim, Claim::Open { slot: owner, .. } if *owner == slot);
        endpoints.filter(move |(_, claim)| ours(claim)).map(|(target, _)| *target)
    };
    let mut held: BTreeMap<&DatabaseId, Held> = live
        .databases
        .iter()
        .map(|(slot, database)| {
            (&database.id, Held { prefixes: database.sources.len(), endpoints: of(*slot).count() })
        })
        .collect();
    let closed = live.table.endpoints.iter().filter(|(_, claim)| **claim == Claim::Closed);
    let mut closed: BTreeSet<Target> =
        closed.map(|(target, _)| *target).filter(|target| counts(target)).collect();
    let (mut refused, mut memory) = (BTreeMap::new(), desired.limits.memory);
    for (id, database) in &desired.databases {
        let own = held.get(id).copied().unwrap_or_default();
        let all = held.values().fold(Held::default(), |sum, one| Held {
            prefixes: sum.prefixes + one.prefixes,
            endpoints: sum.endpoints + one.endpoints,
        });
        // What leaves stays as a tombstone, and what it takes the place of goes.
        let takes = |target: &Target| database.targets.iter().any(|one| one.covers(target));
        let leaving = live.slot(id).into_iter().flat_map(of).filter(|target| counts(target));
        let mut left: BTreeSet<Target> = leaving.chain(closed.iter().copied()).collect();
        left.retain(|target| !takes(target));
        let others = Held {
            prefixes: all.prefixes - own.prefixes,
            endpoints: all.endpoints - own.endpoints + left.len(),
        };
        match fits(database, own, others, &Capacity { memory, ..desired.limits }) {
            Ok(()) => {
                closed = left;
                if database.set.len() > own.prefixes {
                    memory = memory.saturating_sub(bytes(database.set.len()));
                }
                held.insert(id, Held { prefixes: database.set.len(), endpoints: database.targets.len() });
            }
            Err(error) => {
                refused.insert(id.clone(), error);
            }
        }
    }
    refused
}

fn fits(desired: &DesiredDatabase, own: Held, others: Held, limits: &Capacity) -> Result<()> {
    let wanted = desired.set.len();
    ensure!(
        wanted <= own.prefixes || others.prefixes + wanted <= limits.prefixes,
        "no room for its {wanted} prefixes: the other databases of this host hold {}, and at most {} fit",
        others.prefixes,
        limits.prefixes
    );
    let needed = bytes(wanted);
    ensure!(
        wanted <= own.prefixes || needed <= limits.memory,
        "no room for its {wanted} prefixes: they take about {} KiB of memory, and the agent's limit leaves {} KiB",
        needed / 1024,
        limits.memory / 1024
    );
    let wanted = desired.targets.len();
    ensure!(
        wanted <= own.endpoints || others.endpoints + wanted <= limits.endpoints,
        "no room for its {wanted} endpoints: this host has {} others, closed ones included, and at most {} fit",
        others.endpoints,
        limits.endpoints
    );
    Ok(())
}

/// Memory that a new trie of so many prefixes takes.
fn bytes(prefixes: usize) -> u64 {
    u64::try_from(prefixes).unwrap_or(u64::MAX).saturating_mul(BYTES_OF_A_PREFIX)
}
