//! Destinations: the endpoint table, one hash map that is replaced whole, and the port marks in front of it.

use std::{collections::BTreeMap, os::fd::AsFd as _};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, IterableMap as _, Map, MapData};
use firewall_common::{EVERY_DATABASE, Endpoint, EndpointKey, MAX_MEMBERS, PORT_WORDS, PortWord, names};

use super::{
    convert::{
        Plain, Row, destination_to_key, entry_from_value, entry_to_value, member_to_key, row_from_key,
    },
    layouts::PinnedMaps,
    map_of_maps::Outer,
    pins::Pins,
    shapes::inner_shape,
    syscall,
};
use crate::sync::{Guards, Ports, Table, TableEntry};

type Rows = BTreeMap<EndpointKey, Endpoint>;

/// The only slot of the outer map, and the prefix of the pins' names.
const SLOT: u32 = 0;
const PIN_PREFIX: &str = "table-";

pub(super) struct EndpointTable {
    outer: Outer,
    pins: Pins,
}

impl EndpointTable {
    pub fn open(maps: &PinnedMaps<'_>) -> Result<Self> {
        Ok(Self {
            outer: Outer::open(maps, names::ENDPOINTS, maps.pins.endpoints())?,
            pins: maps.pins.clone(),
        })
    }

    /// The live table; empty before the first publish.
    ///
    /// # Errors
    /// When a table is published and its pin is gone: its content is then unknown.
    pub fn read(&self) -> Result<Table> {
        if self.outer.live_id(SLOT)?.is_none() {
            return Ok(Table::default());
        }
        let live = self.outer.live(SLOT, PIN_PREFIX)?.with_context(|| self.missing_pin())?;
        let mut table = Table::default();
        for (key, value) in read(&live)? {
            add(&mut table, &key, &value).with_context(|| format!("endpoint table: row {key:?}"))?;
        }
        Ok(table)
    }

    pub fn publish(&mut self, table: &Table) -> Result<()> {
        let (rows, shape) = (rows(table)?, inner_shape(names::ENDPOINTS)?);
        // Map ids only grow: this number is new.
        let number = self.outer.live_id(SLOT)?.map_or(1, |id| u64::from(id) + 1);
        let built = self.outer.build((PIN_PREFIX, number), shape, &rows, fill, read)?;
        self.outer.publish(SLOT, PIN_PREFIX, built)
    }

    /// Returns whether the published table has no pin.
    pub fn is_unpinned(&self) -> Result<bool> {
        Ok(self.outer.live_id(SLOT)?.is_some() && self.outer.live(SLOT, PIN_PREFIX)?.is_none())
    }

    /// Returns whether the live table is another than the one published here.
    pub fn has_drifted(&self) -> Result<bool> {
        Ok(self.outer.is_foreign(SLOT, self.outer.live_id(SLOT)?))
    }

    /// Holds the published table open.
    pub fn open_published(&mut self) -> Result<()> {
        self.outer.open_published(&[(SLOT, PIN_PREFIX.to_owned())])
    }

    /// Restores the table's pin if it is missing; returns the number of restored pins.
    pub fn restore_pins(&self) -> Result<u64> {
        self.outer.restore_pins()
    }

    /// Waits until no packet that was in flight at the call is still being processed.
    pub fn synchronize(&mut self) -> Result<()> {
        self.outer.synchronize(SLOT, PIN_PREFIX)
    }

    pub fn remove_stale(&self) {
        self.outer.remove_stale(&[(SLOT, PIN_PREFIX.to_owned())]);
    }

    fn missing_pin(&self) -> String {
        format!(
            "{}: the pin of the published endpoint table is missing: its contents are unknown and stay in \
             force",
            self.pins.endpoints().display()
        )
    }
}

fn add(table: &mut Table, key: &EndpointKey, value: &Endpoint) -> Result<()> {
    let claim = entry_from_value(value)?;
    match row_from_key(key)? {
        Row::Endpoint(destination) => {
            table.endpoints.insert(destination, claim);
        }
        Row::Member(address) => {
            let members = table.members.entry(address).or_default();
            match claim {
                TableEntry::Tombstone => members.closed = true,
                TableEntry::Open { slot, mode, default_counter } => {
                    members.databases.insert((mode, slot, default_counter));
                }
            }
        }
        Row::Host => {
            if let TableEntry::Open { slot, mode, default_counter } = claim {
                table.databases.insert((mode, slot, default_counter));
            }
        }
    }
    Ok(())
}

/// Endpoint rows, the address index, and the host index.
fn rows(table: &Table) -> Result<Rows> {
    let mut rows: Rows = table
        .endpoints
        .iter()
        .map(|(destination, claim)| (destination_to_key(destination), entry_to_value(claim)))
        .collect();
    for (address, members) in &table.members {
        let databases = members.databases.len();
        ensure!(
            databases <= MAX_MEMBERS as usize,
            "{}: {databases} databases share the address, at most {MAX_MEMBERS} may",
            address.map_or_else(|| "every address".to_owned(), |address| address.to_string()),
        );
        let tombstone = members.closed.then_some(TableEntry::Tombstone);
        let open = members.databases.iter().map(|&(mode, slot, default_counter)| TableEntry::Open {
            slot,
            mode,
            default_counter,
        });
        for (row, claim) in (0..).zip(tombstone.into_iter().chain(open)) {
            rows.insert(member_to_key(*address, row), entry_to_value(&claim));
        }
    }
    let databases = table.databases.len();
    ensure!(
        databases <= MAX_MEMBERS as usize,
        "{databases} databases on this host, at most {MAX_MEMBERS} fit"
    );
    for (port, &(mode, slot, default_counter)) in (0..).zip(&table.databases) {
        let claim = TableEntry::Open { slot, mode, default_counter };
        rows.insert(EndpointKey { port, ..EVERY_DATABASE }, entry_to_value(&claim));
    }
    Ok(rows)
}

fn fill(map: &MapData, rows: &Rows) -> Result<()> {
    let rows = rows.iter().map(|(key, value)| (*key, *value));
    syscall::fill_map(map.fd().as_fd(), rows).context("cannot write the endpoint table")
}

fn read(map: &MapData) -> Result<Rows> {
    let rows = syscall::read_map(map.fd().as_fd()).context("cannot read the endpoint table")?;
    Ok(rows.into_iter().collect())
}

/// Claimed and guarded ports; packets to all other ports pass.
pub(super) struct PortFilter {
    words: Array<MapData, Plain<PortWord>>,
    /// Guarded ports that are closed to new connections only.
    new_connections: Array<MapData, u64>,
}

impl PortFilter {
    pub fn open(maps: &PinnedMaps<'_>) -> Result<Self> {
        Ok(Self {
            words: Array::try_from(Map::Array(maps.open(names::PORTS)?))?,
            new_connections: Array::try_from(Map::Array(maps.open(names::NEW_CONNECTIONS)?))?,
        })
    }

    /// The claimed and the guarded ports.
    pub fn read(&self) -> Result<(Ports, Guards)> {
        let (mut claimed, mut guarded) = (Ports::new(), Ports::new());
        // In one call, since every drift check reads them.
        let words = syscall::read_map::<u32, PortWord>(self.words.map().fd().as_fd());
        for (number, word) in words.context("cannot read map PORTS")? {
            let number = usize::try_from(number)?;
            claimed.insert_word(number, word.claimed);
            guarded.insert_word(number, word.guarded);
        }
        let new_connections = self.read_new_connections()?;
        Ok((claimed, Guards::from_marks(&guarded, &new_connections)))
    }

    fn read_new_connections(&self) -> Result<Ports> {
        let mut ports = Ports::new();
        let words = self.new_connections.map().fd().as_fd();
        let words = syscall::read_map::<u32, u64>(words);
        for (number, word) in words.context("cannot read map NEW_CONNECTIONS")? {
            ports.insert_word(usize::try_from(number)?, word);
        }
        Ok(ports)
    }

    /// Writes the words that differ. Each port has its own bits: a packet in between sees each port's old or new state.
    /// The kind of a guard is in place before the guard, and stays until the guard is gone.
    pub fn write(&mut self, claimed: &Ports, guards: &Guards) -> Result<()> {
        let guarded = guards.ports();
        let now = self.read_new_connections()?;
        let first = guards.new_connections().union(&now.without(&guarded));
        self.write_new_connections(&now, &first)?;
        self.write_words(claimed, &guarded)?;
        self.write_new_connections(&first, guards.new_connections())
    }

    fn write_new_connections(&mut self, now: &Ports, next: &Ports) -> Result<()> {
        for (number, (now, next)) in (0..PORT_WORDS).zip(now.words().iter().zip(next.words())) {
            if now != next {
                self.new_connections.set(number, next, 0).context("cannot write map NEW_CONNECTIONS")?;
            }
        }
        Ok(())
    }

    fn write_words(&mut self, claimed: &Ports, guarded: &Ports) -> Result<()> {
        let words = claimed.words().iter().zip(guarded.words());
        for (number, (claimed, guarded)) in (0..PORT_WORDS).zip(words) {
            let word = PortWord { claimed: *claimed, guarded: *guarded };
            let Plain(now) = self.words.get(&number, 0).context("cannot read map PORTS")?;
            if now != word {
                self.words.set(number, Plain(word), 0).context("cannot write map PORTS")?;
            }
        }
        Ok(())
    }
}
