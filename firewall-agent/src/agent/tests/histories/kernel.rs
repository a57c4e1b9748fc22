//! A kernel in memory that outlives its agents, refuses writes, ends the process at one, and records its judgement of
//! packets after each.

use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use anyhow::{Result, ensure};
use fastrand::Rng;
use firewall_common::Tally;

use super::packets::{Packets, Treatment, judge};
use crate::agent::read_back::ReadBack;
use crate::rules::DatabaseId;
use crate::sync::{
    BlockReplacement, Counted, CounterId, DataPlane, DatabaseSlot, Destination, FakeDataPlane, Guards, Live,
    Ports, Replacement, RuleCounter, Sizes, Table,
};

/// Database slots; a history may have more databases.
const DATABASES: u32 = 4;
/// The agent's estimate.
const BYTES_OF_A_PREFIX: u64 = 144;
/// Enough counters for every rule to have its own, before and after a change.
const COUNTERS: u32 = 48;

/// Judgement of a kernel in one state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    pub passed: Packets,
    pub protected: Packets,
    pub at_endpoints: Packets,
    /// Revisions in force.
    pub revisions: BTreeMap<DatabaseId, u64>,
    /// Destinations of open endpoints.
    pub open: BTreeMap<DatabaseId, BTreeSet<Destination>>,
}

thread_local! {
    /// Judgements after each write of the host that this thread simulates.
    static JUDGEMENTS: RefCell<Vec<Judgement>> = const { RefCell::new(Vec::new()) };
    /// The current write changes no judgement.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

fn observe(live: &Live) {
    if IS_QUIET.get() {
        return;
    }
    let judgement = Judgement::of(live);
    JUDGEMENTS.with_borrow_mut(|judgements| {
        if judgements.last() != Some(&judgement) {
            judgements.push(judgement);
        }
    });
}

#[derive(Debug, Clone)]
pub struct SharedKernel {
    data_plane: Rc<RefCell<FakeDataPlane>>,
    refused: Rc<Cell<bool>>,
    unreadable: Rc<Cell<bool>>,
    freed: Rc<RefCell<BTreeMap<CounterId, Tally>>>,
    /// Prefixes for which memory is available.
    memory: Rc<Cell<usize>>,
    /// More memory was requested than available.
    exceeded: Rc<Cell<bool>>,
    rng: Rng,
}

impl SharedKernel {
    pub fn new(databases: u32, rng: Rng) -> Self {
        let databases = databases.min(DATABASES);
        let sizes = Sizes { databases, counters: COUNTERS, prefix_counters: 12 };
        let mut data_plane = FakeDataPlane::new(Live::default(), sizes);
        data_plane.observer = Some(observe);
        Self {
            data_plane: Rc::new(RefCell::new(data_plane)),
            refused: Rc::default(),
            unreadable: Rc::default(),
            freed: Rc::default(),
            memory: Rc::new(Cell::new(usize::MAX)),
            exceeded: Rc::default(),
            rng,
        }
    }

    /// The complete live state.
    pub fn live(&self) -> Ref<'_, Live> {
        Ref::map(self.data_plane.borrow(), |data_plane| &data_plane.live)
    }

    /// The live state as read back.
    fn read_back(&self) -> Live {
        let live = self.live().clone();
        let stamps = live.databases.values().filter_map(|database| database.stamp.as_ref());
        Live { generation: stamps.map(|stamp| stamp.generation).max().unwrap_or(0), ..live }
    }

    /// Revisions in force.
    pub fn revisions(&self) -> BTreeMap<DatabaseId, u64> {
        revisions(&self.live())
    }

    pub fn judgement(&self) -> Judgement {
        Judgement::of(&self.live())
    }

    /// Judgements after each write since the last call.
    pub fn take_judgements(&self) -> Vec<Judgement> {
        JUDGEMENTS.take()
    }

    /// Returns `true` if a write was refused since the last call.
    pub fn has_refused(&self) -> bool {
        self.refused.get()
    }

    pub fn take_refused(&self) -> bool {
        self.refused.replace(false)
    }

    pub fn set_unreadable(&self, unreadable: bool) {
        self.unreadable.set(unreadable);
    }

    pub fn is_unreadable(&self) -> bool {
        self.unreadable.get()
    }

    /// Refuses the write of this number from now, and all later ones if `dead`; `kills`: the process ends instead.
    pub fn fail_at(&self, write: usize, dead: bool, kills: bool) {
        let mut data_plane = self.data_plane.borrow_mut();
        data_plane.failing = Some(data_plane.writes + write);
        (data_plane.dead, data_plane.kills) = (dead, kills);
    }

    /// Sets the number of prefixes for which memory is available.
    pub fn set_memory(&self, prefixes: usize) {
        self.memory.set(prefixes);
    }

    /// Returns `true` when a database grew beyond the memory.
    pub fn is_out_of_memory(&self) -> bool {
        self.exceeded.get()
    }

    /// Prefixes of all databases.
    pub fn prefixes(&self) -> usize {
        self.live().prefixes()
    }

    pub fn mend(&self) {
        self.mend_writes();
        self.unreadable.set(false);
    }

    /// No write is refused, and none kills the next process.
    pub fn mend_writes(&self) {
        self.data_plane.borrow_mut().failing = None;
    }

    fn write<T>(&self, call: impl FnOnce(&mut FakeDataPlane) -> T) -> T {
        call(&mut self.data_plane.borrow_mut())
    }

    /// A write that changes no judgement.
    fn write_quietly<T>(&self, call: impl FnOnce(&mut FakeDataPlane) -> T) -> T {
        IS_QUIET.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| self.write(call)));
        IS_QUIET.set(false);
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn record_refusal(&self, result: Result<()>) -> Result<()> {
        self.refused.set(self.refused.get() || result.is_err());
        result
    }

    /// A refused write of ports may have changed some of them.
    fn set_some_ports(&mut self, claimed: &Ports, guarded: &Guards) {
        let mut data_plane = self.data_plane.borrow_mut();
        if data_plane.failing != Some(data_plane.writes) {
            return;
        }
        let rng = &mut self.rng;
        let mut some = |now: &mut Ports, wanted: &Ports| {
            *now = now
                .union(wanted)
                .iter()
                .filter(|port| if rng.bool() { wanted.contains(*port) } else { now.contains(*port) })
                .collect();
        };
        some(&mut data_plane.live.claimed, claimed);
        let (mut marked, mut kinds) =
            (data_plane.live.guarded.ports(), data_plane.live.guarded.new_connections().clone());
        some(&mut marked, &guarded.ports());
        some(&mut kinds, guarded.new_connections());
        // The kernel's order: a port gets the kind of its guard before the guard, and loses it after.
        kinds
            .extend(guarded.new_connections().iter().filter(|port| !data_plane.live.guarded.contains(*port)));
        data_plane.live.guarded = Guards::from_marks(&marked, &kinds);
        observe(&data_plane.live);
    }
}

fn revisions(live: &Live) -> BTreeMap<DatabaseId, u64> {
    let databases = live.databases.values();
    databases.filter_map(|one| Some((one.id.clone(), one.stamp.as_ref()?.revision))).collect()
}

impl Judgement {
    fn of(live: &Live) -> Self {
        let Treatment { passed, protected, at_endpoints } = judge(live);
        let mut open: BTreeMap<DatabaseId, BTreeSet<Destination>> = BTreeMap::new();
        for (destination, owner) in live.owners() {
            if let Some(owner) = owner {
                open.entry(owner.clone()).or_default().insert(destination);
            }
        }
        Self { passed, protected, at_endpoints, revisions: revisions(live), open }
    }
}

impl ReadBack for SharedKernel {
    fn live(&self) -> Result<Live> {
        ensure!(!self.unreadable.get(), "the kernel cannot be read");
        Ok(self.read_back())
    }

    fn memory_left(&self) -> u64 {
        let left = self.memory.get().saturating_sub(self.prefixes());
        u64::try_from(left).unwrap_or(u64::MAX).saturating_mul(BYTES_OF_A_PREFIX)
    }

    fn counted(&self, _: CounterId) -> Result<Counted> {
        Ok(Counted::default())
    }

    fn take_freed(&mut self) -> BTreeMap<CounterId, Tally> {
        std::mem::take(&mut self.freed.borrow_mut())
    }
}

impl DataPlane for SharedKernel {
    fn sizes(&self) -> Sizes {
        self.data_plane.borrow().sizes()
    }

    fn set_ports(&mut self, claimed: &Ports, guarded: &Guards) -> Result<()> {
        self.set_some_ports(claimed, guarded);
        let result = self.write(|data_plane| data_plane.set_ports(claimed, guarded));
        self.record_refusal(result)
    }

    fn set_counter(&mut self, slot: CounterId, counter: &RuleCounter) -> Result<()> {
        let result = self.write_quietly(|data_plane| data_plane.set_counter(slot, counter));
        self.record_refusal(result)
    }

    fn free_counter(&mut self, slot: CounterId) -> Result<()> {
        let result = self.write_quietly(|data_plane| data_plane.free_counter(slot));
        if result.is_ok() {
            self.freed.borrow_mut().insert(slot, Tally { packets: 1, bytes: 60 });
        }
        self.record_refusal(result)
    }

    fn publish_sources(&mut self, together: &[Replacement<'_>]) -> Vec<Result<()>> {
        let before = self.prefixes();
        let results = self.write(|data_plane| data_plane.publish_sources(together));
        let (after, is_refused) = (self.prefixes(), results.iter().any(Result::is_err));
        // Of a refused change one family may have grown before the other shrank.
        let is_beyond = !is_refused && after > before && after > self.memory.get();
        self.exceeded.set(self.exceeded.get() || is_beyond);
        self.refused.set(self.refused.get() || is_refused);
        results
    }

    fn synchronize(&mut self) -> Result<()> {
        let result = self.write_quietly(DataPlane::synchronize);
        self.record_refusal(result)
    }

    fn free_database(&mut self, slot: DatabaseSlot) -> Result<()> {
        let result = self.write(|data_plane| data_plane.free_database(slot));
        self.record_refusal(result)
    }

    fn publish_table(&mut self, table: &Table) -> Result<()> {
        let result = self.write(|data_plane| data_plane.publish_table(table));
        self.record_refusal(result)
    }

    fn publish_blocks(&mut self, list: &BlockReplacement<'_>) -> Result<()> {
        let result = self.write(|data_plane| data_plane.publish_blocks(list));
        self.record_refusal(result)
    }
}
