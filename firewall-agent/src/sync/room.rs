//! Capacity check for all databases together, before anything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Error, Result, anyhow, ensure};

use super::data_plane::DataPlane;
use super::desired::{Capacity, Desired, DesiredDatabase};
use super::model::{Database, DatabaseSlot, Destination, Live};
use super::open_endpoints::OpenEndpoint;
use super::remainder::remainder;
use crate::rules::{DatabaseId, Mode};

/// Bytes per prefix in an LPM trie of the kernel, measured on Linux 6.18.
const BYTES_OF_A_PREFIX: u64 = 144;

/// Result of the capacity check.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// The databases that do not fit.
    pub crowded: BTreeMap<DatabaseId, Crowded>,
    /// New databases that fit once leaving ones have freed their slots.
    pub late: BTreeSet<DatabaseId>,
}

/// A database that does not fit at its new revision.
#[derive(Debug)]
pub(super) struct Crowded {
    /// The cause, with figures.
    pub error: Error,
    /// Rules that stay in force; `None` where the live ones stay unchanged.
    pub remainder: Option<Arc<DesiredDatabase>>,
}

impl Crowded {
    /// A new database that waits for the slot of a leaving one.
    pub fn late() -> Self {
        Self { error: anyhow!("no room: all database slots are in use"), remainder: None }
    }
}

/// Capacity used by one database, or by all.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    prefixes: usize,
    endpoints: usize,
}

impl Usage {
    /// The sum with one of its parts replaced.
    fn with(self, before: Self, after: Self) -> Self {
        Self {
            prefixes: self.prefixes - before.prefixes + after.prefixes,
            endpoints: self.endpoints - before.endpoints + after.endpoints,
        }
    }
}

/// A database that needs capacity.
struct Claimant<'a> {
    id: &'a DatabaseId,
    wanted: &'a DesiredDatabase,
    /// Endpoints that would be open; a withheld one takes no capacity yet.
    endpoints: usize,
    /// A new destination would be opened.
    opens: bool,
    /// `None` for a database that is not live.
    slot: Option<DatabaseSlot>,
    usage: Usage,
    /// Open endpoints that the new revision retains.
    retained: usize,
}

impl<'a> Claimant<'a> {
    fn new(
        id: &'a DatabaseId,
        wanted: &'a DesiredDatabase,
        live: Option<(DatabaseSlot, &Database, &[OpenEndpoint])>,
        desired: &Desired,
    ) -> Self {
        let open = live.into_iter().flat_map(|(.., open)| open).map(|endpoint| endpoint.destination);
        let open: BTreeSet<Destination> = open.collect();
        let is_open = |to: &Destination| open.contains(to) || open.contains(&to.everywhere());
        let stay = wanted.destinations.iter().filter(|to| is_open(to)).count();
        let opens = |to: &&Destination| !is_open(to) && !desired.withheld.contains(*to);
        let new = wanted.destinations.iter().filter(opens).count();
        let below = open.iter().filter(|to| !wanted.destinations.contains(*to) && wanted.claims(to));
        Self {
            id,
            wanted,
            endpoints: stay + new,
            opens: new > 0,
            slot: live.map(|(slot, ..)| slot),
            usage: Usage {
                prefixes: live.map_or(0, |(_, live, _)| live.sources.len()),
                endpoints: open.len(),
            },
            retained: stay + below.count(),
        }
    }

    /// Order of assignment: live databases that do not grow, which always fit because a revocation must; then databases
    /// that were in force before a reboot; then live ones that grow; then new ones.
    fn rank(&self, desired: &Desired) -> u8 {
        match self.slot {
            Some(_) if !self.spreads() && self.wanted.set.prefixes.len() <= self.usage.prefixes => 0,
            None if desired.first.contains(self.id) => 1,
            Some(_) => 2,
            None => 3,
        }
    }

    /// Returns `true` if the database would have more endpoints, apart from single addresses that replace a wildcard.
    fn spreads(&self) -> bool {
        self.opens && self.endpoints > self.usage.endpoints
    }

    /// Reduces a database that does not fit to the part of the old revision that its new one retains. Returns `true` if
    /// that is less than before.
    fn shrink(&mut self, error: Error, live: &Live) -> (Crowded, bool) {
        // Monitor mode passes everyone: it revokes nothing.
        let revokes = self.slot.filter(|_| self.wanted.mode == Mode::Enforce);
        let remainder = revokes.and_then(|slot| remainder(slot, self.wanted, 0, live));
        let prefixes = remainder.as_ref().map_or(self.usage.prefixes, |rest| rest.set.prefixes.len());
        let less = prefixes < self.usage.prefixes || self.retained < self.usage.endpoints;
        self.usage = Usage { prefixes, endpoints: self.retained };
        (Crowded { error, remainder: remainder.map(Arc::new) }, less)
    }
}

/// The databases that do not fit beside each other in `slots` database slots. Tombstones take no capacity, nor do
/// single addresses that replace a wildcard.
pub(super) fn room(desired: &Desired, live: &Live, slots: u32) -> Room {
    let (mut claimants, mut budget) = claimants(desired, live, slots);
    claimants.sort_by_key(|one| one.rank(desired));
    let mut room = Room::default();
    loop {
        let (mut refused, mut shrunk, all) = (Vec::new(), false, claimants.len());
        for mut one in claimants {
            let Err(error) = budget.reserve(&one, desired, &mut room.late) else {
                room.crowded.remove(one.id);
                continue;
            };
            let before = one.usage;
            let (crowded, less) = one.shrink(error, live);
            budget.total = budget.total.with(before, one.usage);
            shrunk |= less;
            room.crowded.insert(one.id.clone(), crowded);
            refused.push(one);
        }
        if refused.is_empty() || refused.len() == all && !shrunk {
            return room;
        }
        // A database may fit where another shrank.
        claimants = refused;
    }
}

/// The databases that do not fit now.
pub(super) fn crowded(desired: &Desired, live: &Live, data_plane: &impl DataPlane) -> BTreeSet<DatabaseId> {
    room(desired, live, data_plane.sizes().databases).crowded.into_keys().collect()
}

/// The desired databases, and the capacity used by the live ones that stay.
fn claimants<'a>(desired: &'a Desired, live: &Live, slots: u32) -> (Vec<Claimant<'a>>, Budget) {
    let open = live.open_endpoints();
    let known = live.databases.iter();
    let known: BTreeMap<&DatabaseId, (DatabaseSlot, &Database, &[OpenEndpoint])> =
        known.map(|(slot, database)| (&database.id, (*slot, database, open.of(*slot)))).collect();
    let free = usize::try_from(slots).unwrap_or(usize::MAX).saturating_sub(known.len());
    let mut budget = Budget { total: Usage::default(), memory: desired.limits.memory, slots, free, late: 0 };
    for (id, (_, database, open)) in &known {
        if desired.removed.contains(*id) && !desired.frees_nothing {
            budget.late += 1;
        } else {
            budget.total.prefixes += database.sources.len();
            budget.total.endpoints += open.len();
        }
    }
    let databases = desired.databases.iter();
    let claimants = databases.map(|(id, wanted)| Claimant::new(id, wanted, known.get(id).copied(), desired));
    (claimants.collect(), budget)
}

/// Capacity in use and available.
#[derive(Debug)]
struct Budget {
    total: Usage,
    /// Bytes available.
    memory: u64,
    /// Number of database slots; those free, and those that become free.
    slots: u32,
    free: usize,
    late: usize,
}

impl Budget {
    /// Reserves capacity for a database, if available.
    fn reserve(
        &mut self,
        one: &Claimant<'_>,
        desired: &Desired,
        late: &mut BTreeSet<DatabaseId>,
    ) -> Result<()> {
        let is_new = one.slot.is_none();
        ensure!(
            !is_new || self.free + self.late > 0,
            "no room: all {} database slots are in use",
            self.slots
        );
        let others = self.total.with(one.usage, Usage::default());
        fits(one, others, &Capacity { memory: self.memory, ..desired.limits })?;
        if is_new && self.free == 0 {
            self.late -= 1;
            late.insert(one.id.clone());
        } else if is_new {
            self.free -= 1;
        }
        if one.wanted.set.prefixes.len() > one.usage.prefixes {
            self.memory = self.memory.saturating_sub(bytes(one.wanted.set.prefixes.len()));
        }
        let new = Usage { prefixes: one.wanted.set.prefixes.len(), endpoints: one.endpoints };
        self.total = self.total.with(one.usage, new);
        Ok(())
    }
}

fn fits(one: &Claimant<'_>, others: Usage, limits: &Capacity) -> Result<()> {
    let wanted = one.wanted.set.prefixes.len();
    ensure!(
        wanted <= one.usage.prefixes || others.prefixes + wanted <= limits.prefixes,
        "no room for {wanted} prefixes: the other databases of this host use {}, the limit is {}",
        others.prefixes,
        limits.prefixes
    );
    ensure_memory(wanted, one.usage.prefixes, limits)?;
    let wanted = one.endpoints;
    ensure!(
        !one.spreads() || others.endpoints + wanted <= limits.endpoints,
        "no room for {wanted} endpoints: the other databases of this host use {}, the limit is {}",
        others.endpoints,
        limits.endpoints
    );
    Ok(())
}

/// Fails unless a list of `wanted` prefixes fits beside the one of `current` prefixes that it replaces. One that is not
/// longer always fits.
pub(super) fn ensure_memory(wanted: usize, current: usize, limits: &Capacity) -> Result<()> {
    let needed = bytes(wanted);
    ensure!(
        wanted <= current || needed <= limits.memory,
        "no room for {wanted} prefixes: they need about {} KiB of memory, the limit of the agent leaves {} KiB",
        needed / 1024,
        limits.memory / 1024
    );
    Ok(())
}

/// Memory of a new trie with this number of prefixes, in bytes.
fn bytes(prefixes: usize) -> u64 {
    u64::try_from(prefixes).unwrap_or(u64::MAX).saturating_mul(BYTES_OF_A_PREFIX)
}
