//! The block lists: an LPM trie for each list and address family, whose keys have a scope before the address.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use firewall_common::{BLOCK_LISTS, BLOCKED_RANGES, EVERY_ENDPOINT, LOCAL_BLOCKS, names};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    convert::{v6, words},
    layouts::PinnedMaps,
    map_of_maps::{Built, Outer},
    shapes::inner_shape,
    syscall,
};
use crate::sync::{BlockListKind, BlockedSource, CounterId, DatabaseSlot};

/// Bits of the scope in a key.
const SCOPE: u32 = 32;

/// Entries of one list, each with its counter.
pub(super) type CountedSources = BTreeMap<BlockedSource, CounterId>;

/// The tries of both families.
pub(super) struct BlockTries {
    v4: Outer,
    v6: Outer,
}

impl BlockTries {
    pub fn open(maps: &PinnedMaps<'_>) -> Result<Self> {
        let outer = |name| Outer::open(maps, name, maps.pins.blocks());
        Ok(Self { v4: outer(names::BLOCKED_V4)?, v6: outer(names::BLOCKED_V6)? })
    }

    /// The published list; `None` if the pin of one of its tries is gone.
    pub fn read(&self, kind: BlockListKind) -> Result<Option<CountedSources>> {
        let mut entries = CountedSources::new();
        for family in [Family::V4, Family::V6] {
            let (outer, prefix) = (self.outer(family), family.pin_prefix(kind));
            if outer.live_id(index(kind))?.is_none() {
                continue;
            }
            let Some(live) = outer.live(index(kind), &prefix)? else { return Ok(None) };
            entries.extend(family.read(&live)?);
        }
        Ok(Some(entries))
    }

    /// Builds the tries of both families, and publishes one after the other.
    pub fn publish(&mut self, kind: BlockListKind, entries: &CountedSources) -> Result<()> {
        let mut built = Vec::new();
        for family in [Family::V4, Family::V6] {
            let of_family = entries.iter().filter(|(source, _)| family.has(source));
            let of_family: CountedSources = of_family.map(|(source, counter)| (*source, *counter)).collect();
            // Every publish waits for the packets in flight: none for a family that never had an entry.
            if of_family.is_empty() && self.outer(family).live_id(index(kind))?.is_none() {
                continue;
            }
            built.push((family, self.build(family, kind, &of_family)?));
        }
        for (family, trie) in built {
            let prefix = family.pin_prefix(kind);
            self.outer_mut(family).publish(index(kind), &prefix, trie)?;
        }
        Ok(())
    }

    fn build(&self, family: Family, kind: BlockListKind, entries: &CountedSources) -> Result<Built> {
        let (outer, shape) = (self.outer(family), inner_shape(family.map())?);
        // Map ids only grow: this number is new.
        let number = outer.live_id(index(kind))?.map_or(1, |id| u64::from(id) + 1);
        let fill = |map: &MapData, rows: &CountedSources| family.fill(map, rows);
        let read = |map: &MapData| family.read(map);
        outer.build((&family.pin_prefix(kind), number), shape, entries, fill, read)
    }

    /// Returns whether a published trie is another than the one published here.
    pub fn has_drifted(&self) -> Result<bool> {
        for outer in [&self.v4, &self.v6] {
            for slot in 0..BLOCK_LISTS {
                if outer.is_foreign(slot, outer.live_id(slot)?) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Holds the published tries open.
    pub fn open_published(&mut self) -> Result<()> {
        for family in [Family::V4, Family::V6] {
            self.outer_mut(family).open_published(&family.pins())?;
        }
        Ok(())
    }

    /// Restores missing pins; returns their number.
    pub fn restore_pins(&self) -> Result<u64> {
        Ok(self.v4.restore_pins()? + self.v6.restore_pins()?)
    }

    /// Removes the pins of unpublished tries.
    pub fn remove_stale(&self) {
        for family in [Family::V4, Family::V6] {
            self.outer(family).remove_stale(&family.pins());
        }
    }

    fn outer(&self, family: Family) -> &Outer {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn outer_mut(&mut self, family: Family) -> &mut Outer {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// Index of a list in the outer maps.
fn index(kind: BlockListKind) -> u32 {
    match kind {
        BlockListKind::Ranges => BLOCKED_RANGES,
        BlockListKind::Local => LOCAL_BLOCKS,
    }
}

/// Address family of a trie.
#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn map(self) -> &'static str {
        match self {
            Self::V4 => names::BLOCKED_V4,
            Self::V6 => names::BLOCKED_V6,
        }
    }

    fn pin_prefix(self, kind: BlockListKind) -> String {
        let family = match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        };
        format!("{family}-{}-", index(kind))
    }

    /// The pins of every list, by index.
    fn pins(self) -> Vec<(u32, String)> {
        BlockListKind::ALL.map(|kind| (index(kind), self.pin_prefix(kind))).to_vec()
    }

    fn has(self, source: &BlockedSource) -> bool {
        matches!((self, source.net), (Self::V4, IpNet::V4(_)) | (Self::V6, IpNet::V6(_)))
    }

    /// Keys are the length in bits, the scope, and the address in network byte order.
    fn fill(self, map: &MapData, entries: &CountedSources) -> Result<()> {
        let map = map.fd().as_fd();
        let rows = entries.iter();
        let length = |length: u8| SCOPE + u32::from(length);
        match self {
            Self::V4 => {
                let row = |(source, counter): (&BlockedSource, &CounterId)| {
                    let IpNet::V4(net) = source.net else { return None };
                    let word = u32::from_ne_bytes(net.network().octets());
                    Some(([length(net.prefix_len()), scope(source), word], counter.0))
                };
                syscall::fill_map(map, rows.filter_map(row))?;
            }
            Self::V6 => {
                let row = |(source, counter): (&BlockedSource, &CounterId)| {
                    let IpNet::V6(net) = source.net else { return None };
                    let [first, second, third, fourth] = words(net.network());
                    let key = [length(net.prefix_len()), scope(source), first, second, third, fourth];
                    Some((key, counter.0))
                };
                syscall::fill_map(map, rows.filter_map(row))?;
            }
        }
        Ok(())
    }

    fn read(self, map: &MapData) -> Result<CountedSources> {
        let map = map.fd().as_fd();
        match self {
            Self::V4 => {
                let entry = |([bits, scope, word], counter): ([u32; 3], u32)| {
                    let net = Ipv4Net::new(Ipv4Addr::from(word.to_ne_bytes()), length(bits)?)?;
                    Ok((source(scope, net.into()), CounterId(counter)))
                };
                syscall::read_map(map)?.into_iter().map(entry).collect()
            }
            Self::V6 => {
                let entry = |([bits, scope, first, second, third, fourth], counter): ([u32; 6], u32)| {
                    let address: Ipv6Addr = v6([first, second, third, fourth]);
                    let net = Ipv6Net::new(address, length(bits)?)?;
                    Ok((source(scope, net.into()), CounterId(counter)))
                };
                syscall::read_map(map)?.into_iter().map(entry).collect()
            }
        }
    }
}

fn scope(source: &BlockedSource) -> u32 {
    source.database.map_or(EVERY_ENDPOINT, |slot| slot.0)
}

fn source(scope: u32, net: IpNet) -> BlockedSource {
    BlockedSource { database: (scope != EVERY_ENDPOINT).then_some(DatabaseSlot(scope)), net }
}

/// The length of the source's prefix in a key's length.
fn length(of_key: u32) -> Result<u8> {
    let length = of_key.checked_sub(SCOPE).and_then(|length| u8::try_from(length).ok());
    length.with_context(|| format!("block list: key of {of_key} bits: must have at least {SCOPE}"))
}
