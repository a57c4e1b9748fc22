//! What fits on this host: asked of all databases together, before anything is written.

use std::collections::BTreeMap;

use anyhow::{Error, Result, ensure};

use super::desired::{Capacity, Desired, DesiredDatabase};
use super::model::{Claim, Live};
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
pub(super) fn crowded(desired: &Desired, live: &Live) -> BTreeMap<DatabaseId, Error> {
    let mut held: BTreeMap<&DatabaseId, Held> = live
        .databases
        .iter()
        .map(|(slot, database)| {
            let ours = |claim: &&Claim| matches!(claim, Claim::Open { slot: owner, .. } if owner == slot);
            let endpoints = live.table.endpoints.values().filter(ours).count();
            (&database.id, Held { prefixes: database.sources.len(), endpoints })
        })
        .collect();
    let mut closed = live.table.endpoints.values().filter(|claim| **claim == Claim::Closed).count();
    let mut refused = BTreeMap::new();
    for (id, database) in &desired.databases {
        let own = held.get(id).copied().unwrap_or_default();
        let all = held.values().fold(Held::default(), |sum, one| Held {
            prefixes: sum.prefixes + one.prefixes,
            endpoints: sum.endpoints + one.endpoints,
        });
        // What leaves stays as a tombstone.
        let left = own.endpoints.saturating_sub(database.targets.len());
        let others = Held {
            prefixes: all.prefixes - own.prefixes,
            endpoints: all.endpoints - own.endpoints + closed + left,
        };
        match fits(database, own, others, &desired.limits) {
            Ok(()) => {
                closed += left;
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
    let needed = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_mul(BYTES_OF_A_PREFIX);
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
