//! Memory of the pinned maps, as the kernel accounts it.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};

use super::inventory::{PinnedObject, inventory};

/// Memory of the pinned maps, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MapMemory {
    /// All maps together, with the values of every CPU.
    pub bytes: u64,
    /// The values of one CPU.
    pub bytes_per_cpu: u64,
    /// CPUs that the kernel may bring up: each has values.
    pub possible_cpus: u64,
}

/// Numbers of the `bpf_map_type`s with a value for each CPU: `PERCPU_HASH`, `PERCPU_ARRAY` and `LRU_PERCPU_HASH`.
const PER_CPU: [u64; 3] = [5, 6, 10];

/// Sums the maps pinned below a directory.
///
/// # Errors
/// A pin cannot be read, or the kernel describes it without a number.
pub(super) fn map_memory(bpffs_dir: &Path) -> Result<MapMemory> {
    let cpus = aya::util::nr_cpus().map_err(|(path, error)| anyhow!("{path}: {error}"))?;
    let mut memory = MapMemory { possible_cpus: u64::try_from(cpus)?, ..MapMemory::default() };
    for pinned in inventory(bpffs_dir)?.iter().filter(|pinned| pinned.object.contains_key("map_type")) {
        memory.bytes += number(pinned, "memlock")?;
        if PER_CPU.contains(&number(pinned, "map_type")?) {
            // The kernel rounds each value up to whole words.
            let value = number(pinned, "value_size")?.next_multiple_of(8);
            memory.bytes_per_cpu += value * number(pinned, "max_entries")?;
        }
    }
    Ok(memory)
}

fn number(pinned: &PinnedObject, field: &str) -> Result<u64> {
    let text = pinned.object.get(field).with_context(|| format!("{}: no {field}", pinned.pin))?;
    text.parse().with_context(|| format!("{}: {field} is {text:?}", pinned.pin))
}
