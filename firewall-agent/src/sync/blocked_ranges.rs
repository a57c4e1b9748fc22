//! The blocked ranges, as the block list of the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use super::block_list::{BlockId, BlockedSource, BlockedSources};
use super::model::{CounterKind, Live};
use crate::rules::{ManagedRange, ManagedRanges, RangeId};

/// A compiled list. Compiled once for each accepted file: it may have 100,000 prefixes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockedRanges {
    pub sources: Arc<BlockedSources>,
    /// Names for people, by range.
    pub names: BTreeMap<BlockId, String>,
}

impl BlockedRanges {
    /// A prefix in several ranges counts on the first by id.
    #[must_use]
    pub fn new(ranges: &ManagedRanges) -> Self {
        let (mut sources, mut names) = (BlockedSources::new(), BTreeMap::new());
        for (id, range) in &ranges.ranges {
            let id: BlockId = id.as_str().into();
            for net in &range.cidrs {
                sources.entry(BlockedSource { database: None, net: *net }).or_insert_with(|| Arc::clone(&id));
            }
            names.insert(id, range.name.clone());
        }
        Self { sources: Arc::new(sources), names }
    }
}

/// The blocked ranges in the kernel: they stay in force until the agent has read the file.
#[must_use]
pub fn blocked_ranges_from_kernel(live: &Live) -> ManagedRanges {
    let mut cidrs: BTreeMap<RangeId, BTreeSet<IpNet>> = BTreeMap::new();
    for (source, id) in &*live.blocks.ranges.sources {
        if let Ok(id) = id.parse::<RangeId>() {
            cidrs.entry(id).or_default().insert(source.net);
        }
    }
    let name = |id: &RangeId| {
        let of_range = |rule: &&Arc<super::model::RuleCounter>| {
            rule.kind == CounterKind::BlockedRange && rule.id == id.as_str()
        };
        live.counters.values().find(of_range).map_or_else(|| id.to_string(), |rule| rule.label.clone())
    };
    let ranges = cidrs.into_iter().map(|(id, cidrs)| {
        let range = ManagedRange { name: name(&id), cidrs, accept_shrink: false };
        (id, Arc::new(range))
    });
    ManagedRanges { revision: 0, generated_at: Timestamp::UNIX_EPOCH, ranges: ranges.collect() }
}
