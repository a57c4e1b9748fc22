//! DatabaseSlot metadata, stored in pinned maps so that it shares the lifetime of the slots.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData, MapError};
use firewall_common::{DatabaseRecord, RuleRecord, names};

use super::{
    convert::{counter_from_record, counter_to_record},
    pins::Pins,
    plain::Plain,
    shape,
};
use crate::{
    host::retry::patiently,
    sync::{CounterId, DatabaseSlot, RuleCounter},
};

pub(super) struct Records {
    rules: HashMap<MapData, u32, Plain<RuleRecord>>,
    databases: HashMap<MapData, u32, Plain<DatabaseRecord>>,
}

impl Records {
    pub fn open(pins: &Pins) -> Result<Self> {
        let hash = |name| Ok::<_, anyhow::Error>(Map::HashMap(shape::open(pins, name)?));
        Ok(Self {
            rules: HashMap::try_from(hash(names::RULES)?)?,
            databases: HashMap::try_from(hash(names::DATABASES)?)?,
        })
    }

    pub fn lines(&self) -> Result<BTreeMap<CounterId, RuleCounter>> {
        self.rules
            .iter()
            .map(|row| {
                let (slot, Plain(record)) = row.context("rule records: cannot be read")?;
                let line = counter_from_record(&record).with_context(|| format!("rule record {slot}"))?;
                Ok((slot, line))
            })
            .collect()
    }

    pub fn set_counter(&mut self, slot: CounterId, line: &RuleCounter) -> Result<()> {
        patiently(|| {
            let record = Plain(counter_to_record(line));
            self.rules
                .insert(slot, record, 0)
                .with_context(|| format!("rule record {slot}: cannot be written"))
        })
    }

    pub fn remove_line(&mut self, slot: CounterId) -> Result<()> {
        patiently(|| {
            absent_is_fine(self.rules.remove(&slot))
                .with_context(|| format!("rule record {slot}: cannot be removed"))
        })
    }

    /// Slots in use by a database.
    pub fn slots(&self) -> Result<Vec<DatabaseSlot>> {
        self.databases.keys().map(|slot| slot.context("database records: cannot be read")).collect()
    }

    pub fn database(&self, slot: DatabaseSlot) -> Result<Option<DatabaseRecord>> {
        match self.databases.get(&slot, 0) {
            Ok(Plain(record)) => Ok(Some(record)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("database record {slot}: cannot be read")),
        }
    }

    pub fn set_database(&mut self, slot: DatabaseSlot, record: DatabaseRecord) -> Result<()> {
        patiently(|| {
            let written = self.databases.insert(slot, Plain(record), 0);
            written.with_context(|| format!("database record {slot}: cannot be written"))
        })
    }

    pub fn remove_database(&mut self, slot: DatabaseSlot) -> Result<()> {
        patiently(|| {
            absent_is_fine(self.databases.remove(&slot))
                .with_context(|| format!("database record {slot}: cannot be removed"))
        })
    }
}

/// Treats the removal of an absent entry as success.
pub(super) fn absent_is_fine(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}
