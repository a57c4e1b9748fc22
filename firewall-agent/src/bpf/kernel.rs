//! All pinned maps together: reads the live state and publishes changes.

mod replace;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::Path,
};

use anyhow::Result;
use firewall_common::{Reason, Tally, names};
use ipnet::{Ipv4Net, Ipv6Net};

use super::{
    counters::{CounterHits, Counters},
    denials::{DenialTable, Denied, DeniedTotals},
    endpoints::EndpointTable,
    filters::Filters,
    generation::Generation,
    object::Capacity,
    pins::Pins,
    ports::PortFilter,
    records::Records,
    sources::SourceTries,
    stamps::{self, TrieIds},
};
use crate::sync::{
    CounterId, DataPlane, Database, DatabaseSlot, Live, Ports, Replacement, RuleCounter, Sources, Table,
};

/// The maps of this layout, opened by their pins and checked. Contains no program and no link.
pub struct Kernel {
    pub(super) ports: PortFilter,
    pub(super) endpoints: EndpointTable,
    pub(super) v4: SourceTries,
    pub(super) v6: SourceTries,
    pub(super) prefilter_v4: Filters,
    pub(super) prefilter_v6: Filters,
    generation: Generation,
    counters: Counters,
    records: Records,
    /// Hits of rule counters when they were freed.
    freed: BTreeMap<CounterId, CounterHits>,
    denials: DenialTable,
    /// Slots with a refused publish, which may have left pins.
    leftovers: BTreeSet<DatabaseSlot>,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("databases", &self.v4.capacity()).finish_non_exhaustive()
    }
}

impl Kernel {
    /// Opens the maps that an agent pinned below `bpffs_dir`.
    ///
    /// # Errors
    /// When nothing is pinned there, it may not be opened, or a map has another shape.
    pub fn open(bpffs_dir: &Path) -> Result<Self> {
        let pins = Pins::new(bpffs_dir);
        pins.expect()?;
        Ok(Self {
            ports: PortFilter::open(&pins)?,
            endpoints: EndpointTable::open(&pins)?,
            v4: SourceTries::open(&pins, names::SOURCES_V4, "v4")?,
            v6: SourceTries::open(&pins, names::SOURCES_V6, "v6")?,
            prefilter_v4: Filters::open(&pins, names::PREFILTER_V4)?,
            prefilter_v6: Filters::open(&pins, names::PREFILTER_V6)?,
            generation: Generation::open(&pins)?,
            counters: Counters::open(&pins)?,
            records: Records::open(&pins)?,
            freed: BTreeMap::new(),
            denials: DenialTable::open(&pins)?,
            leftovers: BTreeSet::new(),
        })
    }

    /// Reads back the live state.
    ///
    /// # Errors
    /// When a map cannot be read, or contains a value that no agent writes.
    pub fn live(&self) -> Result<Live> {
        let table = self.endpoints.read()?;
        Ok(Live { table, ..self.live_but_endpoints()? })
    }

    /// Returns whether the published endpoint table is unreadable because its pin is gone.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn has_lost_endpoints(&self) -> Result<bool> {
        self.endpoints.is_lost()
    }

    /// Reads back the live state except the endpoint table.
    ///
    /// # Errors
    /// When a map cannot be read, or contains a value that no agent writes.
    pub fn live_but_endpoints(&self) -> Result<Live> {
        let mut live = Live { counters: self.records.lines()?, ..Live::default() };
        (live.claimed, live.guarded) = self.ports.read()?;
        live.generation = self.v4.highest_number()?.max(self.v6.highest_number()?);
        for slot in self.records.slots()? {
            if let Some((generation, database)) = self.database(slot)? {
                live.generation = live.generation.max(generation);
                live.databases.insert(slot, database);
            }
        }
        Ok(live)
    }

    /// A database and the highest generation in its record; `None` when the slot is free.
    fn database(&self, slot: DatabaseSlot) -> Result<Option<(u64, Database)>> {
        loop {
            let ids = self.trie_ids(slot)?;
            let Some(record) = self.records.database(slot)? else { return Ok(None) };
            let (v4, v6) = (self.v4.read::<Ipv4Net>(slot)?, self.v6.read::<Ipv6Net>(slot)?);
            // A publish of another process in between would mix two generations.
            if self.trie_ids(slot)? != ids {
                continue;
            }
            // A trie without a pin cannot be read: it must not count as empty, and both tries are replaced.
            let known = (v4.is_some() || ids[0] == 0) && (v6.is_some() || ids[1] == 0);
            let sources = Sources { v4: v4.unwrap_or_default(), v6: v6.unwrap_or_default() };
            let mut database = stamps::database(&record, ids, sources)?;
            database.stamp = database.stamp.filter(|_| known);
            return Ok(Some((stamps::generation(&record), database)));
        }
    }

    /// Removes the pins of maps that were built and never published, as far as they can be opened.
    pub fn remove_stale(&self) {
        self.endpoints.remove_stale();
        let slots: Vec<DatabaseSlot> = (0..self.v4.capacity()).collect();
        self.v4.remove_stale(&slots);
        self.v6.remove_stale(&slots);
    }

    /// Invalidates the caches with a random generation: the entries may come from a replaced program.
    pub fn forget_kept(&mut self) {
        self.generation.renew();
    }

    /// Invalidates the caches at each drift check, so that an entry written by another process is valid only until
    /// then. Returns whether another process has written the generation.
    pub fn renew_generation(&mut self) -> bool {
        let disturbed = self.generation.is_disturbed();
        self.generation.advance();
        disturbed
    }

    /// Kernel ids of the maps that determine verdicts, as this process has them open.
    ///
    /// # Errors
    /// When the kernel returns no id.
    pub(super) fn deciding(&self) -> Result<[(&'static str, u32); 7]> {
        Ok([
            (names::PORTS, self.ports.map_id()?),
            (names::ENDPOINTS, self.endpoints.map_id()?),
            (names::SOURCES_V4, self.v4.map_id()?),
            (names::SOURCES_V6, self.v6.map_id()?),
            (names::PREFILTER_V4, self.prefilter_v4.map_id()?),
            (names::PREFILTER_V6, self.prefilter_v6.map_id()?),
            (names::GENERATION, self.generation.map_id()),
        ])
    }

    /// Packets and bytes with this reason, over all CPUs.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn reason(&self, reason: Reason) -> Result<Tally> {
        self.counters.reason(reason)
    }

    /// Hits of a rule counter, over all CPUs.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn hits(&self, line: CounterId) -> Result<CounterHits> {
        self.counters.line(line)
    }

    /// Returns whether the record of a slot matches this database and its stamp.
    pub(super) fn is_recorded(&self, slot: DatabaseSlot, database: &Database) -> Result<bool> {
        let ids = self.trie_ids(slot)?;
        let Some(record) = self.records.database(slot)? else { return Ok(false) };
        let found = stamps::database(&record, ids, Sources::default());
        Ok(found.is_ok_and(|found| found.id == database.id && same_stamp(&found, database)))
    }

    /// Takes the hits of the rule counters freed since the last call.
    pub fn take_freed(&mut self) -> BTreeMap<CounterId, CounterHits> {
        std::mem::take(&mut self.freed)
    }

    /// Refused sources in the kernel's table, in no order.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn denied(&self) -> Result<Vec<Denied>> {
        self.denials.read()
    }

    /// Totals of recorded and unrecorded packets for [`Kernel::denied`].
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn denied_totals(&self) -> Result<DeniedTotals> {
        self.denials.totals()
    }

    fn trie_ids(&self, slot: DatabaseSlot) -> Result<TrieIds> {
        Ok([self.v4.live_id(slot)?.unwrap_or(0), self.v6.live_id(slot)?.unwrap_or(0)])
    }
}

/// Compares stamps without their time, which the kernel's record has to the second only.
fn same_stamp(one: &Database, other: &Database) -> bool {
    let essence = |database: &Database| {
        database.stamp.as_ref().map(|stamp| (stamp.revision, stamp.generation, stamp.digest))
    };
    essence(one) == essence(other)
}

impl DataPlane for Kernel {
    fn capacity(&self) -> (DatabaseSlot, CounterId) {
        (self.v4.capacity(), self.counters.lines())
    }

    fn prefix_counters(&self) -> Range<CounterId> {
        Capacity::rule_counters(self.v4.capacity())..self.counters.lines()
    }

    fn set_ports(&mut self, claimed: &Ports, guarded: &Ports) -> Result<()> {
        self.ports.write(claimed, guarded)
    }

    fn set_counter(&mut self, slot: CounterId, line: &RuleCounter) -> Result<()> {
        self.records.set_counter(slot, line)
    }

    fn free_counter(&mut self, slot: CounterId) -> Result<()> {
        // Refused sources are recorded on default counters only, one for each database slot.
        if slot <= self.v4.capacity() {
            self.denials.forget(slot)?;
        }
        let last = self.counters.line(slot)?;
        self.counters.reset(slot)?;
        let freed = self.freed.entry(slot).or_default();
        (freed.packets, freed.bytes) = (freed.packets + last.packets, freed.bytes + last.bytes);
        self.records.remove_line(slot)
    }

    fn publish_sources(&mut self, together: &[Replacement<'_>]) -> Vec<Result<()>> {
        self.replace(together)
    }

    fn synchronize(&mut self) -> Result<()> {
        self.endpoints.synchronize()
    }

    fn free_database(&mut self, slot: DatabaseSlot) -> Result<()> {
        self.records.remove_database(slot)
    }

    fn publish_table(&mut self, table: &Table) -> Result<()> {
        self.generation.suspend();
        let published = self.endpoints.publish(table);
        self.generation.advance();
        published
    }
}
