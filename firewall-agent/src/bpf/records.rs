//! Records of databases and rule counters, stored in pinned maps so that they share the lifetime of the slots, and
//! which of a database record's two stamps is in force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData, MapError};
use firewall_common::{DatabaseRecord, RuleRecord, Stamp as StampRecord, names};
use jiff::Timestamp;

use super::{
    convert::{Plain, counter_from_record, counter_to_record, text_from_bytes, text_to_bytes},
    layouts::PinnedMaps,
};
use crate::{
    host::retry::patiently,
    rules::{DatabaseId, PrefixMap},
    sync::{CounterId, Database, DatabaseSlot, RuleCounter, Stamp},
};

pub(super) struct Records {
    rules: HashMap<MapData, u32, Plain<RuleRecord>>,
    databases: HashMap<MapData, u32, Plain<DatabaseRecord>>,
}

impl Records {
    pub fn open(maps: &PinnedMaps<'_>) -> Result<Self> {
        let hash = |name| Ok::<_, anyhow::Error>(Map::HashMap(maps.open(name)?));
        Ok(Self {
            rules: HashMap::try_from(hash(names::RULES)?)?,
            databases: HashMap::try_from(hash(names::DATABASES)?)?,
        })
    }

    /// The records of all counters, equal ones shared.
    pub fn counters(&self) -> Result<BTreeMap<CounterId, Arc<RuleCounter>>> {
        let mut known: BTreeSet<Arc<RuleCounter>> = BTreeSet::new();
        let counters = self.rules.iter().map(|row| {
            let (slot, Plain(record)) = row.context("cannot read the rule records")?;
            let counter = counter_from_record(&record).with_context(|| format!("rule record {slot}"))?;
            if let Some(same) = known.get(&counter) {
                return Ok((CounterId(slot), Arc::clone(same)));
            }
            let counter = Arc::new(counter);
            known.insert(Arc::clone(&counter));
            Ok((CounterId(slot), counter))
        });
        counters.collect()
    }

    pub fn counter(&self, slot: CounterId) -> Result<Option<RuleCounter>> {
        match self.rules.get(&slot.0, 0) {
            Ok(Plain(record)) => {
                counter_from_record(&record).map(Some).with_context(|| format!("rule record {slot}"))
            }
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read rule record {slot}")),
        }
    }

    pub fn set_counter(&mut self, slot: CounterId, counter: &RuleCounter) -> Result<()> {
        patiently(|| {
            let record = Plain(counter_to_record(counter));
            self.rules.insert(slot.0, record, 0).with_context(|| format!("cannot write rule record {slot}"))
        })
    }

    pub fn remove_counter(&mut self, slot: CounterId) -> Result<()> {
        patiently(|| {
            absent_is_fine(self.rules.remove(&slot.0))
                .with_context(|| format!("cannot remove rule record {slot}"))
        })
    }

    /// Slots in use by a database.
    pub fn slots(&self) -> Result<Vec<DatabaseSlot>> {
        let slots = self.databases.keys();
        slots.map(|slot| slot.map(DatabaseSlot).context("cannot read the database records")).collect()
    }

    /// The database of each default counter.
    pub fn default_counters(&self) -> Result<BTreeMap<CounterId, DatabaseId>> {
        let mut counters = BTreeMap::new();
        for slot in self.slots()? {
            // The database may leave meanwhile.
            if let Some(record) = self.database(slot)? {
                let id = text_from_bytes(&record.id).and_then(|id| Ok(id.parse()?));
                let id = id.with_context(|| format!("database record {slot}: id"))?;
                counters.insert(CounterId(record.default_counter), id);
            }
        }
        Ok(counters)
    }

    pub fn database(&self, slot: DatabaseSlot) -> Result<Option<DatabaseRecord>> {
        match self.databases.get(&slot.0, 0) {
            Ok(Plain(record)) => Ok(Some(record)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read database record {slot}")),
        }
    }

    pub fn set_database(&mut self, slot: DatabaseSlot, record: DatabaseRecord) -> Result<()> {
        patiently(|| {
            let written = self.databases.insert(slot.0, Plain(record), 0);
            written.with_context(|| format!("cannot write database record {slot}"))
        })
    }

    pub fn remove_database(&mut self, slot: DatabaseSlot) -> Result<()> {
        patiently(|| {
            absent_is_fine(self.databases.remove(&slot.0))
                .with_context(|| format!("cannot remove database record {slot}"))
        })
    }
}

/// Kernel ids of a database's live tries; 0 where there is none.
pub(super) type TrieIds = [u32; 2];

/// The record to write before the tries with `ids` replace those of `live`.
pub(super) fn database_to_record(
    database: &Database,
    ids: TrieIds,
    before: Option<&DatabaseRecord>,
    live: TrieIds,
) -> DatabaseRecord {
    let newest = database.stamp.as_ref().map_or_else(StampRecord::default, |stamp| StampRecord {
        revision: stamp.revision,
        generation: stamp.generation,
        applied_at: u64::try_from(stamp.applied_at.as_second()).unwrap_or(0),
        tries: ids,
        digest: stamp.digest,
    });
    DatabaseRecord {
        id: text_to_bytes(&database.id.to_string()),
        name: text_to_bytes(&database.name),
        default_counter: database.default_counter.0,
        reserved: 0,
        newest,
        previous: before.and_then(|before| in_force(before, live)).copied().unwrap_or_default(),
    }
}

/// The database of a record, with the stamp that matches the live tries.
///
/// # Errors
/// When a field of the record contains a value that this agent never writes there.
pub(super) fn database_from_record(
    record: &DatabaseRecord,
    live: TrieIds,
    sources: PrefixMap<CounterId>,
) -> Result<Database> {
    let id = text_from_bytes(&record.id).context("database record: id")?;
    let of_record = |field: &str| format!("database record {id:?}: {field}");
    let stamp = in_force(record, live).map(stamp).transpose().with_context(|| of_record("stamp"))?;
    let sources = Arc::new(sources);
    Ok(Database {
        id: id.parse().with_context(|| of_record("id"))?,
        name: text_from_bytes(&record.name).with_context(|| of_record("name"))?,
        default_counter: CounterId(record.default_counter),
        floor: floor(record),
        stamp,
        sources,
    })
}

/// The revision floor: a rule file with a lower revision is rejected. The newest stamp has a lower revision than the
/// previous one only after a `rebase`; the previous one must not return as a floor then.
fn floor(record: &DatabaseRecord) -> u64 {
    if record.newest.generation == 0 { record.previous.revision } else { record.newest.revision }
}

/// The highest generation in a record.
pub(super) fn highest_generation(record: &DatabaseRecord) -> u64 {
    record.newest.generation.max(record.previous.generation)
}

fn stamp(stamp: &StampRecord) -> Result<Stamp> {
    let seconds = i64::try_from(stamp.applied_at).ok();
    Ok(Stamp {
        revision: stamp.revision,
        generation: stamp.generation,
        applied_at: seconds
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .with_context(|| format!("applied at {} s: outside the calendar's range", stamp.applied_at))?,
        digest: stamp.digest,
    })
}

fn in_force(record: &DatabaseRecord, live: TrieIds) -> Option<&StampRecord> {
    [&record.newest, &record.previous].into_iter().find(|stamp| stamp.generation != 0 && stamp.tries == live)
}

/// Treats the removal of an absent entry as success.
pub(super) fn absent_is_fine(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}
