//! The allow lists: one LPM trie per database and address family.

use std::collections::BTreeMap;

use anyhow::Result;
use aya::maps::{LpmTrie, Map, MapData};

use super::{
    convert::Prefix,
    layouts::PinnedMaps,
    map_of_maps::{Built, Outer},
    shapes::inner_shape,
};
use crate::sync::{CounterId, DatabaseSlot, Indices};

type Trie<P> = LpmTrie<MapData, <P as Prefix>::Words, u32>;

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

    /// Id of the live trie.
    pub fn live_id(&self, slot: DatabaseSlot) -> Result<Option<u32>> {
        self.outer.live_id(slot.0)
    }

    /// The live trie's content; `None` when there is none, or its pin is gone.
    pub fn read<P: Prefix>(&self, slot: DatabaseSlot) -> Result<Option<BTreeMap<P, CounterId>>> {
        self.outer.live(slot.0, &self.pin_prefix(slot))?.map(read::<P>).transpose()
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

    /// Returns whether the live trie of a slot is another than the one published here.
    pub fn has_drifted(&self, slot: DatabaseSlot) -> Result<bool> {
        self.outer.has_drifted(slot.0)
    }

    /// Holds every published trie open.
    pub fn open_published(&mut self) -> Result<()> {
        self.slots().try_for_each(|slot| self.outer.open_published(slot.0, &self.pin_prefix(slot)))
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
        let pin_prefixes: Vec<(u32, String)> =
            slots.iter().map(|slot| (slot.0, self.pin_prefix(*slot))).collect();
        self.outer.remove_stale(&pin_prefixes);
    }

    /// The highest pinned generation, over all slots and families.
    pub fn highest_number(&self) -> Result<u64> {
        self.outer.highest_number()
    }

    fn pin_prefix(&self, slot: DatabaseSlot) -> String {
        format!("{}-{slot}-", self.family)
    }
}

fn fill<P: Prefix>(map: MapData, sources: &BTreeMap<P, CounterId>) -> Result<()> {
    let mut trie = Trie::<P>::try_from(Map::from_map_data(map)?)?;
    for (prefix, rule) in sources {
        trie.insert(&prefix.to_key(), rule.0, 0)?;
    }
    Ok(())
}

fn read<P: Prefix>(map: MapData) -> Result<BTreeMap<P, CounterId>> {
    let trie = Trie::<P>::try_from(Map::from_map_data(map)?)?;
    trie.iter()
        .map(|row| {
            let (key, rule) = row?;
            Ok((P::from_key(key)?, CounterId(rule)))
        })
        .collect()
}
