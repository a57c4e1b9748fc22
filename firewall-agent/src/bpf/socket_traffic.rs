//! Packets that the socket filter judged, by interface and verdict.

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, MapError, PerCpuHashMap};
use firewall_common::{Reason, SocketTraffic, Tally, names};

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
}

impl SocketTrafficTable {
    pub fn open(maps: &PinnedMaps<'_>) -> Result<Self> {
        let map = Map::PerCpuLruHashMap(maps.open(names::SOCKET_TRAFFIC)?);
        Ok(Self { entries: PerCpuHashMap::try_from(map)? })
    }

    /// Every entry, summed over the CPUs, in no order.
    pub fn read(&self) -> Result<Vec<SocketCount>> {
        let mut counts = Vec::new();
        for Plain(key) in self.keys()? {
            let values = match self.entries.get(&Plain(key), 0) {
                // Evicted meanwhile.
                Err(MapError::KeyNotFound) => continue,
                values => values.context("cannot read the packets judged at a socket")?,
            };
            let (reason, counter) = Reason::from_answer(key.answer).with_context(|| {
                format!("packets judged at a socket: unknown reason in {:#x}", key.answer)
            })?;
            let (packets, bytes) = values
                .iter()
                .fold((0, 0), |(packets, bytes), Plain(one)| (packets + one.packets, bytes + one.bytes));
            let counter = CounterId(counter);
            counts.push(SocketCount { interface: key.interface, reason, counter, packets, bytes });
        }
        Ok(counts)
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
