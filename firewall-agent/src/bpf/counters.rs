//! The counters, summed over the CPUs.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use firewall_common::{CpuState, Hits, Reason, Tally, names};
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use super::{convert::Plain, layouts::PinnedMaps};
use crate::sync::CounterId;

pub(super) struct Counters {
    states: PerCpuArray<MapData, Plain<CpuState>>,
    hits: PerCpuArray<MapData, Plain<Hits>>,
}

/// Hits of one rule counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CounterHits {
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
    pub last: Option<Timestamp>,
}

impl Counters {
    pub fn open(maps: &PinnedMaps<'_>) -> Result<Self> {
        let per_cpu = |name| Ok::<_, anyhow::Error>(Map::PerCpuArray(maps.open(name)?));
        Ok(Self {
            states: PerCpuArray::try_from(per_cpu(names::CPU_STATE)?)?,
            hits: PerCpuArray::try_from(per_cpu(names::RULE_HITS)?)?,
        })
    }

    /// Number of rule counters.
    pub fn len(&self) -> u32 {
        self.hits.len()
    }

    pub fn reason(&self, reason: Reason) -> Result<Tally> {
        let states = self
            .states
            .get(&0, 0)
            .with_context(|| format!("cannot read the counter of reason {}", reason.name()))?;
        let mut sum = Tally::default();
        states.iter().for_each(|Plain(state)| sum += state.reasons[reason as usize]);
        Ok(sum)
    }

    pub fn hits(&self, slot: CounterId) -> Result<CounterHits> {
        let values = self.hits.get(&slot.0, 0).with_context(|| format!("cannot read rule counter {slot}"))?;
        let sum = values.iter().fold(Hits::default(), |sum, Plain(one)| Hits {
            packets: sum.packets + one.packets,
            bytes: sum.bytes + one.bytes,
            last_seen: sum.last_seen.max(one.last_seen),
        });
        let last = if sum.last_seen == 0 { None } else { Some(wall_clock(sum.last_seen)?) };
        Ok(CounterHits { packets: sum.packets, bytes: sum.bytes, last })
    }

    /// Sets a rule counter to zero, on every CPU.
    pub fn reset(&mut self, slot: CounterId) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(path, error)| anyhow::anyhow!("{path}: {error}"))?;
        let zeros = PerCpuValues::try_from(vec![Plain(Hits::default()); cpus])?;
        self.hits.set(slot.0, zeros, 0).with_context(|| format!("cannot reset rule counter {slot}"))
    }
}

/// Converts a reading of `CLOCK_MONOTONIC`, in nanoseconds, to wall-clock time.
pub(super) fn wall_clock(monotonic: u64) -> Result<Timestamp> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    let ago = now.saturating_sub(Duration::from_nanos(monotonic));
    Ok(Timestamp::now().checked_sub(jiff::SignedDuration::try_from(ago)?)?)
}
