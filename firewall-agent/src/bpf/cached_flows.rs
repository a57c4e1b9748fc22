//! Flows in the verdict cache: sources that sent packets not long ago.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{Map, PerCpuArray};
use firewall_common::{CACHED_VERDICTS, CachedVerdict, names};

use super::convert::{Plain, destination_of_flow};
use super::layouts::PinnedMaps;
use super::pins::Pins;
use crate::sync::Destination;

/// Source and destination of every entry, valid or not, once: of packets that were allowed or refused.
///
/// # Errors
/// When nothing is pinned below `bpffs_dir`, or the cache cannot be read.
pub fn cached_flows(bpffs_dir: &Path) -> Result<BTreeSet<(IpAddr, Destination)>> {
    let pins = Pins::new(bpffs_dir);
    let maps = PinnedMaps::new(&pins);
    let cache: PerCpuArray<_, Plain<CachedVerdict>> =
        PerCpuArray::try_from(Map::PerCpuArray(maps.open(names::VERDICTS)?))?;
    let mut flows = BTreeSet::new();
    for index in 0..CACHED_VERDICTS {
        let entries = cache.get(&index, 0).context("cannot read the verdict cache")?;
        flows.extend(entries.iter().filter_map(|Plain(entry)| destination_of_flow(&entry.flow)));
    }
    Ok(flows)
}
