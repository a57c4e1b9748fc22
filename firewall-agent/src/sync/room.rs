//! Room on this host: asked for all databases together, before anything is written.

use std::collections::BTreeMap;

use anyhow::{Error, Result, ensure};

use super::desired::{Capacity, Desired, DesiredDatabase};
use super::model::{Claim, Live, Slot};
use crate::rules::DatabaseId;

/// Bytes that a prefix takes in a trie of the kernel, measured on Linux 6.18.
const BYTES_OF_A_PREFIX: u64 = 144;

/// A database whose revision does not fit.
#[derive(Debug)]
pub(super) struct Crowded {
    /// The cause, with figures.
    pub error: Error,
    /// How many endpoints may stay open where a wildcard of it becomes single addresses.
    pub endpoints: usize,
}

/// Room that is taken.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    prefixes: usize,
    endpoints: usize,
}

/// The databases that do not fit. Room goes first to what is live and does not grow, which always fits: a revocation
/// must. Then to what was in force before a reboot, to what is live and grows, and to what is new. Tombstones take none.
///
/// `slots` is how many databases fit.
pub(super) fn crowded(desired: &Desired, live: &Live, slots: Slot) -> BTreeMap<DatabaseId, Crowded> {
    let mut endpoints: BTreeMap<Slot, usize> = BTreeMap::new();
    for claim in live.table.endpoints.values() {
        if let Claim::Open { slot, .. } = claim {
            *endpoints.entry(*slot).or_default() += 1;
        }
    }
    let held: BTreeMap<&DatabaseId, Held> = live
        .databases
        .iter()
        .map(|(slot, database)| {
            let endpoints = endpoints.get(slot).copied().unwrap_or_default();
            (&database.id, Held { prefixes: database.sources.len(), endpoints })
        })
        .collect();
    let mut total = held.values().fold(Held::default(), |sum, one| Held {
        prefixes: sum.prefixes + one.prefixes,
        endpoints: sum.endpoints + one.endpoints,
    });
    let mut databases: Vec<_> = desired.databases.iter().collect();
    databases.sort_by_key(|(id, wanted)| {
        let grows = held
            .get(id)
            .map(|held| wanted.set.len() > held.prefixes || wanted.targets.len() > held.endpoints);
        match grows {
            Some(false) => 0,
            None if desired.first.contains(*id) => 1,
            Some(true) => 2,
            None => 3,
        }
    });
    let (mut crowded, mut memory) = (BTreeMap::new(), desired.limits.memory);
    let mut free = usize::try_from(slots).unwrap_or(usize::MAX).saturating_sub(live.databases.len());
    for (id, wanted) in databases {
        let own = held.get(id).copied();
        let others = Held {
            prefixes: total.prefixes - own.unwrap_or_default().prefixes,
            endpoints: total.endpoints - own.unwrap_or_default().endpoints,
        };
        let limits = Capacity { memory, ..desired.limits };
        let fitting =
            fits_slot(own, free, slots).and_then(|()| fits(wanted, own.unwrap_or_default(), others, &limits));
        let own = own.unwrap_or_default();
        if let Err(error) = fitting {
            let endpoints = own.endpoints.max(limits.endpoints.saturating_sub(others.endpoints));
            crowded.insert(id.clone(), Crowded { error, endpoints });
            continue;
        }
        free -= usize::from(!held.contains_key(id));
        if wanted.set.len() > own.prefixes {
            memory = memory.saturating_sub(bytes(wanted.set.len()));
        }
        total.prefixes = others.prefixes + wanted.set.len();
        total.endpoints = others.endpoints + wanted.targets.len();
    }
    crowded
}

fn fits_slot(own: Option<Held>, free: usize, slots: Slot) -> Result<()> {
    ensure!(own.is_some() || free > 0, "no room for it: all {slots} database slots are in use");
    Ok(())
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
        "no room for its {wanted} endpoints: the other databases of this host hold {}, and at most {} fit",
        others.endpoints,
        limits.endpoints
    );
    Ok(())
}

/// Memory that a new trie of so many prefixes takes.
fn bytes(prefixes: usize) -> u64 {
    u64::try_from(prefixes).unwrap_or(u64::MAX).saturating_mul(BYTES_OF_A_PREFIX)
}
