//! All pinned maps together: reads the live state and publishes changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Error, Result, anyhow};
use firewall_common::{Reason, Tally, names};
use ipnet::{Ipv4Net, Ipv6Net};
use tracing::warn;

use super::{
    block_tries::{BlockTries, CountedSources},
    convert::Prefix,
    counters::{CounterHits, Counters},
    denials::{DenialEntry, DenialTable, Denied, DeniedTotals},
    endpoints::{EndpointTable, PortFilter},
    generation::Generation,
    layouts::PinnedMaps,
    map_memory::{MapMemory, map_memory},
    map_of_maps::Built,
    pins::Pins,
    programs::MapSizes,
    records::{Records, TrieIds, database_from_record, database_to_record, highest_generation},
    slots::slot_ids,
    socket_traffic::{SocketCount, SocketTrafficTable},
    source_prefilters::SourcePrefilters,
    sources::SourceTries,
};
use crate::rules::{DatabaseId, PrefixMap};
use crate::sync::{
    BlockId, BlockList, BlockListKind, BlockReplacement, CounterId, CounterKind, DataPlane, Database,
    DatabaseSlot, Guards, Live, Ports, Replacement, RuleCounter, Sizes, Table,
};

/// The maps of this layout, opened by their pins and checked. Contains no program and no link.
pub struct Kernel {
    pub(super) ports: PortFilter,
    pub(super) endpoints: EndpointTable,
    pub(super) v4: SourceTries,
    pub(super) v6: SourceTries,
    pub(super) prefilter_v4: SourcePrefilters,
    pub(super) prefilter_v6: SourcePrefilters,
    pub(super) blocks: BlockTries,
    opened: BTreeMap<&'static str, u32>,
    bpffs_dir: PathBuf,
    generation: Generation,
    counters: Counters,
    records: Records,
    /// Hits of rule counters when they were freed.
    freed: BTreeMap<CounterId, CounterHits>,
    denials: DenialTable,
    socket_traffic: SocketTrafficTable,
    /// Slots with a refused publish, which may have left pins.
    leftovers: BTreeSet<DatabaseSlot>,
    /// Number of checks for drift.
    pub(super) drift_checks: usize,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("databases", &self.v4.capacity()).finish_non_exhaustive()
    }
}

/// The new tries of one database, built and unpublished; a family without a change has none.
struct Ready {
    v4: Option<Built>,
    v6: Option<Built>,
}

impl Kernel {
    /// Opens the maps that an agent pinned below `bpffs_dir`.
    ///
    /// # Errors
    /// When nothing is pinned there, it may not be opened, or a map has another shape.
    pub fn open(bpffs_dir: &Path) -> Result<Self> {
        let pins = Pins::new(bpffs_dir);
        pins.expect()?;
        let maps = PinnedMaps::new(&pins);
        Ok(Self {
            ports: PortFilter::open(&maps)?,
            endpoints: EndpointTable::open(&maps)?,
            v4: SourceTries::open(&maps, names::SOURCES_V4, "v4")?,
            v6: SourceTries::open(&maps, names::SOURCES_V6, "v6")?,
            prefilter_v4: SourcePrefilters::open(&maps, names::PREFILTER_V4)?,
            prefilter_v6: SourcePrefilters::open(&maps, names::PREFILTER_V6)?,
            blocks: BlockTries::open(&maps)?,
            generation: Generation::open(&maps)?,
            counters: Counters::open(&maps)?,
            records: Records::open(&maps)?,
            freed: BTreeMap::new(),
            denials: DenialTable::open(&maps)?,
            socket_traffic: SocketTrafficTable::open(&maps)?,
            leftovers: BTreeSet::new(),
            drift_checks: 0,
            opened: maps.into_ids(),
            bpffs_dir: bpffs_dir.to_owned(),
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
    pub fn is_table_unpinned(&self) -> Result<bool> {
        self.endpoints.is_unpinned()
    }

    /// Reads back the live state except the endpoint table.
    ///
    /// # Errors
    /// When a map cannot be read, or contains a value that no agent writes.
    pub fn live_but_endpoints(&self) -> Result<Live> {
        let mut live = Live { counters: self.records.counters()?, ..Live::default() };
        (live.claimed, live.guarded) = self.ports.read()?;
        for kind in BlockListKind::ALL {
            *live.blocks.get_mut(kind) = self.block_list(kind, &live.counters)?;
        }
        live.generation = self.v4.highest_number()?.max(self.v6.highest_number()?);
        let mut ids = self.trie_ids(self.records.slots()?)?;
        while !ids.is_empty() {
            let mut databases = Vec::with_capacity(ids.len());
            for (slot, ids) in &ids {
                databases.push(self.database(*slot, *ids));
            }
            // A publish of another process in between would mix two generations: read again.
            let again = self.trie_ids(ids.iter().map(|(slot, _)| *slot))?;
            let stable = ids.iter().zip(&again).zip(databases).filter(|((before, after), _)| before == after);
            for (((slot, _), _), database) in stable {
                if let Some((generation, database)) = database? {
                    live.generation = live.generation.max(generation);
                    live.databases.insert(*slot, database);
                }
            }
            ids = again
                .iter()
                .zip(&ids)
                .filter(|(after, before)| after != before)
                .map(|(one, _)| *one)
                .collect();
        }
        Ok(live)
    }

    /// A published block list. An entry without a counter has an empty id, which no desired entry has.
    fn block_list(
        &self,
        kind: BlockListKind,
        counters: &BTreeMap<CounterId, Arc<RuleCounter>>,
    ) -> Result<BlockList> {
        let Some(entries) = self.blocks.read(kind)? else {
            return Ok(BlockList { is_known: false, ..BlockList::default() });
        };
        let mut ids: BTreeMap<CounterId, BlockId> = BTreeMap::new();
        let mut id = |counter: CounterId| {
            let of_record = || counters.get(&counter).map_or("", |rule| rule.id.as_str()).into();
            Arc::clone(ids.entry(counter).or_insert_with(of_record))
        };
        let sources = entries.into_iter().map(|(source, counter)| (source, id(counter))).collect();
        Ok(BlockList { sources: Arc::new(sources), is_known: true })
    }

    /// The database with these tries, and the highest generation in its record; `None` when the slot is free.
    fn database(&self, slot: DatabaseSlot, ids: TrieIds) -> Result<Option<(u64, Database)>> {
        let Some(record) = self.records.database(slot)? else { return Ok(None) };
        let (v4, v6) = (self.v4.read::<Ipv4Net>(slot, ids[0])?, self.v6.read::<Ipv6Net>(slot, ids[1])?);
        // A trie without a pin cannot be read: it must not count as empty, and both tries are replaced.
        let known = (v4.is_some() || ids[0] == 0) && (v6.is_some() || ids[1] == 0);
        let sources = PrefixMap { v4: v4.unwrap_or_default(), v6: v6.unwrap_or_default() };
        let mut database = database_from_record(&record, ids, sources)?;
        database.stamp = database.stamp.filter(|_| known);
        Ok(Some((highest_generation(&record), database)))
    }

    /// Ids and names of the databases, read without their tries.
    ///
    /// # Errors
    /// When the records cannot be read, or contain a value that no agent writes.
    pub fn database_names(&self) -> Result<Vec<(DatabaseId, String)>> {
        let mut names = Vec::new();
        for slot in self.records.slots()? {
            if let Some(record) = self.records.database(slot)? {
                let database = database_from_record(&record, TrieIds::default(), PrefixMap::new())?;
                names.push((database.id, database.name));
            }
        }
        Ok(names)
    }

    /// Ids of the managed ranges that rules in the kernel use.
    ///
    /// # Errors
    /// When the records cannot be read, or contain a value that no agent writes.
    pub fn range_ids(&self) -> Result<BTreeSet<String>> {
        let counters = self.records.counters()?;
        Ok(counters.values().filter_map(|counter| counter.kind.range()).map(str::to_owned).collect())
    }

    /// Ids of the blocked ranges that have a counter, without the rest of the state.
    ///
    /// # Errors
    /// As [`Kernel::range_ids`].
    pub fn blocked_range_ids(&self) -> Result<BTreeSet<String>> {
        let counters = self.records.counters()?.into_values();
        let of_ranges = counters.filter(|counter| counter.kind == CounterKind::BlockedRange);
        Ok(of_ranges.map(|counter| counter.id.clone()).collect())
    }

    /// Removes the pins of maps that were built and never published, as far as they can be opened.
    pub fn remove_stale(&self) {
        self.endpoints.remove_stale();
        self.blocks.remove_stale();
        let slots: Vec<DatabaseSlot> = self.v4.slots().collect();
        self.v4.remove_stale(&slots);
        self.v6.remove_stale(&slots);
    }

    /// Invalidates the caches with a random generation: the entries may come from a replaced program.
    pub fn invalidate_caches(&mut self) {
        self.generation.renew();
    }

    /// Invalidates the caches at each drift check, so that an entry written by another process is valid only until
    /// then. Returns whether another process has written the generation.
    pub fn renew_generation(&mut self) -> bool {
        let disturbed = self.generation.is_disturbed();
        self.generation.advance();
        disturbed
    }

    /// Kernel ids of the named maps, as this process has them open.
    pub(super) fn opened(&self) -> &BTreeMap<&'static str, u32> {
        &self.opened
    }

    /// Kernel id of the map with the hits of rules.
    #[must_use]
    pub fn counters_map(&self) -> u32 {
        self.opened.get(names::RULE_HITS).copied().unwrap_or(0)
    }

    /// Packets and bytes with this reason, over all CPUs.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn reason(&self, reason: Reason) -> Result<Tally> {
        self.counters.reason(reason)
    }

    /// Memory of the pinned maps.
    ///
    /// # Errors
    /// When a pin cannot be read.
    pub fn map_memory(&self) -> Result<MapMemory> {
        map_memory(&self.bpffs_dir)
    }

    /// Hits of a rule counter, over all CPUs.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn hits(&self, counter: CounterId) -> Result<CounterHits> {
        self.counters.hits(counter)
    }

    /// Returns whether the record of a slot matches this database with these tries, and its stamp.
    pub(super) fn is_recorded(&self, slot: DatabaseSlot, database: &Database, ids: TrieIds) -> Result<bool> {
        let Some(record) = self.records.database(slot)? else { return Ok(false) };
        let found = database_from_record(&record, ids, PrefixMap::new());
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

    /// Entries of the kernel's table, in no order, each with the database that its rule counter belonged to during the
    /// whole reading. Leaves out those of a counter that another database got meanwhile: the next reading has them.
    ///
    /// # Errors
    /// When the table or the records of the databases cannot be read.
    pub fn denial_entries(&self) -> Result<Vec<(DenialEntry, Option<DatabaseId>)>> {
        let before = self.records.default_counters()?;
        let entries = self.denials.entries()?;
        let after = self.records.default_counters()?;
        let named = entries.into_iter().filter_map(|entry| {
            let (before, after) = (before.get(&entry.what.counter), after.get(&entry.what.counter));
            (before == after).then(|| (entry, after.cloned()))
        });
        Ok(named.collect())
    }

    /// Totals of recorded and unrecorded packets for [`Kernel::denied`].
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn denied_totals(&self) -> Result<DeniedTotals> {
        self.denials.totals()
    }

    /// Packets judged at a socket, by interface and verdict, in no order.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn socket_traffic(&self) -> Result<Vec<SocketCount>> {
        self.socket_traffic.read()
    }

    /// The ids of the live tries of each slot, in the same order; 0 is none.
    pub(super) fn trie_ids(
        &self,
        slots: impl IntoIterator<Item = DatabaseSlot>,
    ) -> Result<Vec<(DatabaseSlot, TrieIds)>> {
        let slots: Vec<DatabaseSlot> = slots.into_iter().collect();
        let of: Vec<_> =
            slots.iter().flat_map(|slot| [self.v4.outer_slot(*slot), self.v6.outer_slot(*slot)]).collect();
        let ids: Vec<u32> = slot_ids(&of)?.into_iter().map(Option::unwrap_or_default).collect();
        Ok(slots.into_iter().zip(ids.as_chunks().0.iter().copied()).collect())
    }

    /// Replaces the allow lists of any number of databases, with about as many RCU waits as for one: see
    /// [`DataPlane::publish_sources`].
    fn replace(&mut self, together: &[Replacement<'_>]) -> Vec<Result<()>> {
        let live = match self.trie_ids(together.iter().map(|one| one.slot)) {
            Ok(live) => live,
            Err(error) => return together.iter().map(|_| Err(anyhow!("{error:#}"))).collect(),
        };
        let due = together.iter().zip(live);
        let mut ready: Vec<Result<Ready>> = due.map(|(one, (_, live))| self.prepare(one, live)).collect();
        self.generation.suspend();
        publish_family(&mut self.v4, together, &mut ready, |ready| ready.v4.as_ref());
        publish_family(&mut self.v6, together, &mut ready, |ready| ready.v6.as_ref());
        // Also after a failure: the other databases are in force.
        self.generation.advance();
        let done = together.iter().zip(ready).map(|(one, ready)| {
            let ready = ready.inspect_err(|_| _ = self.leftovers.insert(one.slot))?;
            if let Some(built) = ready.v4 {
                self.v4.set_published(one.slot, built);
            }
            if let Some(built) = ready.v6 {
                self.v6.set_published(one.slot, built);
            }
            if let Err(error) = self.narrow_prefilters(one) {
                // Costs time and changes no verdict; the next publish of the database retries.
                warn!(slot = one.slot.0, error = format!("{error:#}"), "source prefilter not narrowed");
            }
            if self.leftovers.remove(&one.slot) {
                self.v4.remove_stale(&[one.slot]);
                self.v6.remove_stale(&[one.slot]);
            }
            Ok(())
        });
        done.collect()
    }

    /// Does everything that must precede the first packet judged by the new list. `live` are the ids of the tries in
    /// force.
    fn prepare(&mut self, one: &Replacement<'_>, live: TrieIds) -> Result<Ready> {
        let Replacement { slot, database, changed } = *one;
        let generation = database.stamp.as_ref().map_or(0, |stamp| stamp.generation);
        let PrefixMap { v4, v6 } = &*database.sources;
        let ready = Ready {
            v4: changed.v4.then(|| self.v4.build(slot, generation, v4)).transpose()?,
            v6: changed.v6.then(|| self.v6.build(slot, generation, v6)).transpose()?,
        };
        let id = |built: &Option<Built>, live| built.as_ref().map_or(live, |built| built.id);
        let ids = [id(&ready.v4, live[0]), id(&ready.v6, live[1])];
        let before = self.records.database(slot)?;
        self.records.set_database(slot, database_to_record(database, ids, before.as_ref(), live))?;
        if changed.v4 {
            self.prefilter_v4.widen(slot, v4.keys())?;
        }
        if changed.v6 {
            self.prefilter_v6.widen(slot, v6.keys())?;
        }
        Ok(ready)
    }

    /// Narrows the prefilters to the new list, at any time once it is in force.
    fn narrow_prefilters(&mut self, one: &Replacement<'_>) -> Result<()> {
        let PrefixMap { v4, v6 } = &*one.database.sources;
        if one.changed.v4 {
            self.prefilter_v4.narrow(one.slot, v4.keys())?;
        }
        if one.changed.v6 {
            self.prefilter_v6.narrow(one.slot, v6.keys())?;
        }
        Ok(())
    }

    /// Makes the source prefilters match the tries and invalidates the caches, whatever an earlier process left
    /// unfinished.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn adopt(&mut self, live: &Live) -> Result<()> {
        for (slot, [v4, v6]) in self.trie_ids(self.v4.slots())? {
            let known = live.databases.get(&slot).filter(|database| database.stamp.is_some());
            let sources = known.map(|database| &database.sources);
            adopt_filter::<Ipv4Net>(
                &mut self.prefilter_v4,
                slot,
                v4 == 0,
                sources.map(|known| known.v4.keys()),
            )?;
            adopt_filter::<Ipv6Net>(
                &mut self.prefilter_v6,
                slot,
                v6 == 0,
                sources.map(|known| known.v6.keys()),
            )?;
        }
        self.generation.advance();
        Ok(())
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
    fn sizes(&self) -> Sizes {
        MapSizes { databases: self.v4.capacity(), counters: self.counters.len() }.tables()
    }

    fn set_ports(&mut self, claimed: &Ports, guarded: &Guards) -> Result<()> {
        self.ports.write(claimed, guarded)
    }

    fn set_counter(&mut self, slot: CounterId, counter: &RuleCounter) -> Result<()> {
        self.records.set_counter(slot, counter)
    }

    fn free_counter(&mut self, slot: CounterId) -> Result<()> {
        // Refused sources are recorded on default counters, one for each database slot, and on those of block lists.
        let of_block = self.records.counter(slot)?.is_some_and(|rule| rule.database == DatabaseSlot::NONE);
        if slot.0 <= self.v4.capacity() || of_block {
            self.denials.forget(slot)?;
            self.socket_traffic.forget(slot)?;
        }
        let last = self.counters.hits(slot)?;
        self.counters.reset(slot)?;
        let freed = self.freed.entry(slot).or_default();
        (freed.packets, freed.bytes) = (freed.packets + last.packets, freed.bytes + last.bytes);
        self.records.remove_counter(slot)
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

    fn publish_blocks(&mut self, list: &BlockReplacement<'_>) -> Result<()> {
        let counter = |id: &BlockId| list.counters.get(id).copied().unwrap_or(CounterId::NONE);
        let entries: CountedSources =
            list.sources.iter().map(|(source, id)| (*source, counter(id))).collect();
        self.generation.suspend();
        let published = self.blocks.publish(list.kind, &entries);
        self.generation.advance();
        published
    }
}

/// Narrows one source prefilter to its trie. An unknown trie may contain anything: then every bit is set.
fn adopt_filter<'a, P: Prefix + 'a>(
    filters: &mut SourcePrefilters,
    slot: DatabaseSlot,
    empty: bool,
    sources: Option<impl Iterator<Item = &'a P>>,
) -> Result<()> {
    match sources {
        Some(sources) => filters.narrow(slot, sources),
        None if empty => filters.narrow(slot, std::iter::empty::<&P>()),
        None => filters.open_wide(slot),
    }
}

/// Publishes one family of every database without an error up to now.
fn publish_family(
    tries: &mut SourceTries,
    together: &[Replacement<'_>],
    ready: &mut [Result<Ready>],
    family: impl Fn(&Ready) -> Option<&Built>,
) {
    let due: Vec<(usize, DatabaseSlot, &Built)> = ready
        .iter()
        .zip(together)
        .enumerate()
        .filter_map(|(at, (ready, one))| Some((at, one.slot, family(ready.as_ref().ok()?)?)))
        .collect();
    let built: Vec<(DatabaseSlot, &Built)> = due.iter().map(|(_, slot, built)| (*slot, *built)).collect();
    let indices: Vec<usize> = due.iter().map(|(at, _, _)| *at).collect();
    let failures: Vec<(usize, Error)> = indices
        .into_iter()
        .zip(tries.publish_all(&built))
        .filter_map(|(at, result)| Some((at, result.err()?)))
        .collect();
    for (at, error) in failures {
        ready[at] = Err(error);
    }
}
