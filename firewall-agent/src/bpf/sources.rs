//! The allow lists: one LPM trie per database and address family.

use std::{collections::BTreeMap, os::fd::AsFd as _};

use anyhow::Result;
use aya::maps::MapData;

use super::{
    convert::Prefix,
    layouts::PinnedMaps,
    map_of_maps::{Built, Outer},
    shapes::inner_shape,
    slots::Slot,
    syscall,
};
use crate::sync::{CounterId, DatabaseSlot, Indices};

/// The tries of one address family.
pub(super) struct SourceTries {
    outer: Outer,
    /// Name of the outer map.
    name: &'static str,
    family: &'static str,
}

impl SourceTries {
    pub fn open(maps: &PinnedMaps<'_>, name: &'static str, family: &'static str) -> Result<Self> {
        Ok(Self { outer: Outer::open(maps, name, maps.pins.sources())?, name, family })
    }

    /// Number of database slots.
    pub fn capacity(&self) -> u32 {
        self.outer.len()
    }

    /// Every database slot.
    pub fn slots(&self) -> Indices<DatabaseSlot> {
        Indices::new(0..self.capacity())
    }

    /// The slot of the outer map, for the id of the live trie.
    pub fn outer_slot(&self, slot: DatabaseSlot) -> Slot<'_> {
        (&self.outer, slot.0)
    }

    /// The content of the trie with this id; `None` when its pin is gone.
    pub fn read<P: Prefix>(&self, slot: DatabaseSlot, id: u32) -> Result<Option<BTreeMap<P, CounterId>>> {
        self.outer.with_id(slot.0, &self.pin_prefix(slot), id)?.as_ref().map(read::<P>).transpose()
    }

    pub fn build<P: Prefix + std::fmt::Debug>(
        &self,
        slot: DatabaseSlot,
        generation: u64,
        sources: &BTreeMap<P, CounterId>,
    ) -> Result<Built> {
        let shape = inner_shape(self.name)?;
        self.outer.build((&self.pin_prefix(slot), generation), shape, sources, fill::<P>, read::<P>)
    }

    /// Publishes tries; returns one result for each, in the same order.
    pub fn publish_all(&mut self, built: &[(DatabaseSlot, &Built)]) -> Vec<Result<()>> {
        let built: Vec<(u32, &Built)> = built.iter().map(|(slot, built)| (slot.0, *built)).collect();
        self.outer.publish_all(&built)
    }

    /// Returns whether this is the id of another trie than the one published here; 0 is none.
    pub fn is_foreign(&self, slot: DatabaseSlot, id: u32) -> bool {
        self.outer.is_foreign(slot.0, (id != 0).then_some(id))
    }

    /// Holds every published trie open.
    pub fn open_published(&mut self) -> Result<()> {
        let slots: Vec<DatabaseSlot> = self.slots().collect();
        self.outer.open_published(&self.pin_prefixes(&slots))
    }

    /// Restores missing pins of tries; returns their number.
    pub fn restore_pins(&self) -> Result<u64> {
        self.outer.restore_pins()
    }

    /// Holds a published trie open.
    pub fn set_published(&mut self, slot: DatabaseSlot, built: Built) {
        self.outer.set_published(slot.0, built);
    }

    /// Removes the pins of unpublished tries of these slots.
    pub fn remove_stale(&self, slots: &[DatabaseSlot]) {
        self.outer.remove_stale(&self.pin_prefixes(slots));
    }

    /// The highest pinned generation, over all slots and families.
    pub fn highest_number(&self) -> Result<u64> {
        self.outer.highest_number()
    }

    fn pin_prefixes(&self, slots: &[DatabaseSlot]) -> Vec<(u32, String)> {
        slots.iter().map(|slot| (slot.0, self.pin_prefix(*slot))).collect()
    }

    fn pin_prefix(&self, slot: DatabaseSlot) -> String {
        format!("{}-{slot}-", self.family)
    }
}

fn fill<P: Prefix>(map: &MapData, sources: &BTreeMap<P, CounterId>) -> Result<()> {
    let rows = sources.iter().map(|(prefix, rule)| (prefix.to_key(), rule.0));
    Ok(syscall::fill_map(map.fd().as_fd(), rows)?)
}

fn read<P: Prefix>(map: &MapData) -> Result<BTreeMap<P, CounterId>> {
    let rows = syscall::read_map::<P::Key, u32>(map.fd().as_fd())?.into_iter();
    rows.map(|(key, rule)| Ok((P::from_key(key)?, CounterId(rule)))).collect()
}
