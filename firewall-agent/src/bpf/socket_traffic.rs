//! Packets that the socket filter judged, by interface and verdict.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuHashMap};
use firewall_common::{CpuState, Reason, SocketTraffic, Tally, names};

use super::{convert::Plain, layouts::PinnedMaps, records::absent_is_fine};
use crate::{host::retry::patiently, sync::CounterId};

/// Packets of one interface with one verdict, since the table was created or the entry was evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketCount {
    /// Interface index in the network namespace of the socket; 0 when unknown.
    pub interface: u32,
    pub reason: Reason,
    /// The database's default counter; 0 when none decided, or for an allowed packet.
    pub counter: CounterId,
    pub packets: u64,
    /// Bytes from the IP header on.
    pub bytes: u64,
}

pub(super) struct SocketTrafficTable {
    entries: PerCpuHashMap<MapData, Plain<SocketTraffic>, Plain<Tally>>,
    states: PerCpuArray<MapData, Plain<CpuState>>,
}

impl SocketTrafficTable {
    pub fn open(maps: &PinnedMaps<'_>) -> Result<Self> {
        let map = Map::PerCpuLruHashMap(maps.open(names::SOCKET_TRAFFIC)?);
        let states = PerCpuArray::try_from(Map::PerCpuArray(maps.open(names::CPU_STATE)?))?;
        Ok(Self { entries: PerCpuHashMap::try_from(map)?, states })
    }

    /// Every entry, summed over the CPUs, in no order, with the packets that a CPU has not added yet.
    pub fn read(&self) -> Result<Vec<SocketCount>> {
        let mut sums: BTreeMap<(u32, u32), Tally> = BTreeMap::new();
        // First: a packet that moves to the table meanwhile is missing in this reading, and never counted twice.
        for Plain(key) in self.keys()? {
            let values = match self.entries.get(&Plain(key), 0) {
                // Evicted meanwhile.
                Err(MapError::KeyNotFound) => continue,
                values => values.context("cannot read the packets judged at a socket")?,
            };
            let sum = sums.entry((key.interface, key.answer)).or_default();
            values.iter().for_each(|Plain(one)| *sum += *one);
        }
        let states = self.states.get(&0, 0).context("cannot read the packets of admitted sessions")?;
        for Plain(CpuState { sessions, .. }) in
            states.iter().filter(|Plain(one)| one.sessions.tally.packets > 0)
        {
            *sums.entry((sessions.key.interface, sessions.key.answer)).or_default() += sessions.tally;
        }
        let counts = sums.into_iter().map(|((interface, answer), Tally { packets, bytes })| {
            let (reason, counter) = Reason::from_answer(answer)
                .with_context(|| format!("packets judged at a socket: unknown reason in {answer:#x}"))?;
            Ok(SocketCount { interface, reason, counter: CounterId(counter), packets, bytes })
        });
        counts.collect()
    }

    /// Removes the entries of a rule counter, before another database reuses it.
    pub fn forget(&mut self, counter: CounterId) -> Result<()> {
        for Plain(key) in self.keys()? {
            if key.answer & 0x00ff_ffff == counter.0 {
                patiently(|| {
                    absent_is_fine(self.entries.remove(&Plain(key))).with_context(|| {
                        format!("cannot remove the packets at a socket of rule counter {counter}")
                    })
                })?;
            }
        }
        Ok(())
    }

    fn keys(&self) -> Result<Vec<Plain<SocketTraffic>>> {
        let keys = self.entries.keys().collect::<Result<Vec<_>, _>>();
        keys.context("cannot list the packets judged at a socket")
    }
}
