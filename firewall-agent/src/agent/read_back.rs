//! A data plane that can be read back.

use std::collections::BTreeMap;

use anyhow::Result;
use firewall_common::Tally;

use crate::bpf::Kernel;
use crate::host::cgroup::memory_left;
use crate::sync::{Counted, CounterId, DataPlane, Live};

/// The kernel, or a test's fake.
pub trait ReadBack: DataPlane {
    /// Reads the complete live state.
    ///
    /// # Errors
    /// The kernel cannot be read.
    fn live(&self) -> Result<Live>;

    /// Bytes of memory available to the agent; `u64::MAX` without a limit.
    fn memory_left(&self) -> u64;

    /// Counts of a rule counter.
    ///
    /// # Errors
    /// The counter cannot be read.
    fn counted(&self, counter: CounterId) -> Result<Counted>;

    /// Counts of the rule counters freed since the last call.
    fn take_freed(&mut self) -> BTreeMap<CounterId, Tally>;
}

impl ReadBack for Kernel {
    fn live(&self) -> Result<Live> {
        Self::live(self)
    }

    fn memory_left(&self) -> u64 {
        memory_left().unwrap_or(u64::MAX)
    }

    fn counted(&self, counter: CounterId) -> Result<Counted> {
        let hits = self.hits(counter)?;
        Ok(Counted { tally: Tally { packets: hits.packets, bytes: hits.bytes }, last: hits.last })
    }

    fn take_freed(&mut self) -> BTreeMap<CounterId, Tally> {
        let freed = Self::take_freed(self).into_iter();
        freed.map(|(slot, hits)| (slot, Tally { packets: hits.packets, bytes: hits.bytes })).collect()
    }
}
