//! Block lists: sources refused at endpoints, before any rule.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::indices::DatabaseSlot;
use super::model::CounterKind;
use super::remainder::around;

/// Id of a blocked range, or of a local block.
pub type BlockId = Arc<str>;

/// Entries of a block list, each with the id that it counts on.
pub type BlockedSources = BTreeMap<BlockedSource, BlockId>;

/// A block list of the host. The kernel replaces each as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockListKind {
    /// The blocked ranges, which the control plane pushes.
    Ranges,
    /// The blocks of the overlay.
    Local,
}

impl BlockListKind {
    pub const ALL: [Self; 2] = [Self::Ranges, Self::Local];

    /// Kind of the counters of this list.
    #[must_use]
    pub fn counter_kind(self) -> CounterKind {
        match self {
            Self::Ranges => CounterKind::BlockedRange,
            Self::Local => CounterKind::LocalBlock,
        }
    }
}

/// Sources that a block list refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockedSource {
    /// The database whose endpoints refuse them; `None` for every endpoint of the host.
    pub database: Option<DatabaseSlot>,
    /// Canonical: no host bits.
    pub net: IpNet,
}

/// A block list in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockList {
    /// Shared with the desired list: comparing them is comparing two pointers.
    pub sources: Arc<BlockedSources>,
    /// `false` if the published list cannot be read: it may contain anything.
    pub is_known: bool,
}

impl Default for BlockList {
    fn default() -> Self {
        Self { sources: Arc::default(), is_known: true }
    }
}

impl BlockList {
    /// Returns `true` if the list is known to be exactly this one.
    #[must_use]
    pub fn is(&self, sources: &Arc<BlockedSources>) -> bool {
        self.is_known && (Arc::ptr_eq(&self.sources, sources) || self.sources == *sources)
    }

    /// Returns `true` if the list is known to have each of these entries.
    pub(super) fn contains(&self, sources: &Arc<BlockedSources>) -> bool {
        let has = |(source, id): (&BlockedSource, &BlockId)| self.sources.get(source) == Some(id);
        self.is_known && (Arc::ptr_eq(&self.sources, sources) || sources.iter().all(has))
    }

    /// Id of the entry that refuses a source at endpoints of this database.
    fn blocking(&self, source: IpAddr, database: DatabaseSlot) -> Option<&BlockId> {
        [None, Some(database)].into_iter().find_map(|database| self.longest_match(source, database))
    }

    /// Id of the longest prefix around a source, of those with this database.
    fn longest_match(&self, source: IpAddr, database: Option<DatabaseSlot>) -> Option<&BlockId> {
        let mut net = IpNet::from(source);
        loop {
            // A prefix around the source sorts before it, and a longer one after a shorter one.
            let (last, id) = self.sources.range(..=BlockedSource { database, net }).next_back()?;
            if last.database != database {
                return None;
            }
            if last.net.contains(&source) {
                return Some(id);
            }
            // The prefixes between are around neither of both.
            net = around(net).find(|net| net.contains(&last.net))?;
        }
    }
}

/// Both block lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockLists {
    pub ranges: BlockList,
    pub local: BlockList,
}

impl BlockLists {
    #[must_use]
    pub fn get(&self, kind: BlockListKind) -> &BlockList {
        match kind {
            BlockListKind::Ranges => &self.ranges,
            BlockListKind::Local => &self.local,
        }
    }

    pub fn get_mut(&mut self, kind: BlockListKind) -> &mut BlockList {
        match kind {
            BlockListKind::Ranges => &mut self.ranges,
            BlockListKind::Local => &mut self.local,
        }
    }

    /// The entry that refuses a source at endpoints of this database, in the order of the program.
    #[must_use]
    pub fn blocking(&self, source: IpAddr, database: DatabaseSlot) -> Option<(BlockListKind, &BlockId)> {
        let of = |kind| Some((kind, self.get(kind).blocking(source, database)?));
        BlockListKind::ALL.into_iter().find_map(of)
    }

    /// Returns `true` if an entry refers to this database slot.
    pub(super) fn refer_to(&self, slot: DatabaseSlot) -> bool {
        self.local.sources.keys().any(|source| source.database == Some(slot))
    }
}

/// A block list about to be published, with the counter of each id; an id without one is not counted.
#[derive(Debug, Clone, Copy)]
pub struct BlockReplacement<'a> {
    pub kind: BlockListKind,
    pub sources: &'a Arc<BlockedSources>,
    pub counters: &'a BTreeMap<BlockId, super::CounterId>,
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    fn address(rng: &mut Rng) -> IpAddr {
        // Few bits differ, at both ends: prefixes are around each other often.
        let bits = u32::from(rng.u8(0..8)) << 29 | u32::from(rng.u8(0..8));
        if rng.bool() {
            IpAddr::from(bits.to_be_bytes())
        } else {
            IpAddr::from((u128::from(bits) << 96 | 5).to_be_bytes())
        }
    }

    fn source(rng: &mut Rng) -> BlockedSource {
        let net = IpNet::from(address(rng));
        let lengths = [0, 1, 2, 3, 16, 29, 30, 31, 32, net.max_prefix_len()];
        let net = IpNet::new(net.addr(), rng.choice(lengths).unwrap()).unwrap().trunc();
        BlockedSource { database: rng.bool().then(|| DatabaseSlot(rng.u32(0..3))), net }
    }

    #[test]
    fn longest_prefix_around_a_source_blocks_it() {
        let mut rng = Rng::with_seed(61);
        let mut blocked = 0;
        for round in 0..20_000_u32 {
            let ids = (0..rng.u32(0..12)).map(|index| (source(&mut rng), BlockId::from(index.to_string())));
            let list = BlockList { sources: Arc::new(ids.collect()), is_known: true };
            let (address, slot) = (address(&mut rng), DatabaseSlot(rng.u32(0..3)));
            let longest = |database| {
                let around = list
                    .sources
                    .iter()
                    .filter(|(source, _)| source.database == database && source.net.contains(&address));
                around.max_by_key(|(source, _)| source.net.prefix_len()).map(|(_, id)| id)
            };
            let expected = longest(None).or_else(|| longest(Some(slot)));
            assert_eq!(list.blocking(address, slot), expected, "round {round}: {address} in {list:?}");
            blocked += u32::from(expected.is_some());
        }
        assert!((5_000..15_000).contains(&blocked), "{blocked} of 20000 sources were blocked");
    }
}
