//! Who was refused: the kernel's bounded table, and how much of all that was refused it stands for.

use std::{collections::BTreeMap, net::IpAddr, os::fd::AsFd as _};

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use firewall_common::{DENIALS_SIZE, Denial, DenialGate, Denials, Reason, names};
use jiff::Timestamp;

use super::{
    convert::sighting_from_key, counters::wall_clock, patience::patiently, pins::Pins, plain::Plain,
    records::absent_is_fine, shape, syscall,
};
use crate::{rules::Protocol, sync::RuleSlot};
/// What kind of packet was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The first packet of a TCP connection.
    Syn,
    /// Any other TCP packet.
    Tcp,
    Udp,
    /// Neither, or not known: a fragment, a broken header.
    None,
}

/// One source at one destination that was refused for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sighting {
    /// `None` when the packet's addresses could not be read.
    pub source: Option<IpAddr>,
    /// Likewise.
    pub destination: Option<IpAddr>,
    /// Host byte order; 0 when it is not known.
    pub port: u16,
    /// `None` when it is not known.
    pub protocol: Option<Protocol>,
    /// The line that it was counted on; 0 when no database decided.
    pub line: RuleSlot,
    pub reason: Reason,
    pub class: Class,
}

/// How often something was refused, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    pub what: Sighting,
    /// Packets: each one while they were few, by samples under a flood.
    pub packets: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
}

/// How much the table stands for, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeniedTotals {
    /// Refused packets (in monitor mode: that would have been).
    pub seen: u64,
    /// Packets that entries of the table stood for when they were written; what has left the table is among them.
    pub booked: u64,
    /// Packets that no entry ever stood for.
    pub lost: u64,
    /// Writes to the table.
    pub records: u64,
}

impl Class {
    /// The name in commands.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::None => "none",
        }
    }
}

pub(super) struct DenialTable {
    table: MapData,
    entries: HashMap<MapData, Plain<Denial>, Plain<Denials>>,
    gates: PerCpuArray<MapData, Plain<DenialGate>>,
}

impl DenialTable {
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            table: shape::open(pins, names::DENIALS)?,
            entries: HashMap::try_from(Map::LruHashMap(shape::open(pins, names::DENIALS)?))?,
            gates: PerCpuArray::try_from(Map::PerCpuArray(shape::open(pins, names::DENIAL_GATE)?))?,
        })
    }

    /// Every entry, all CPUs together, in no order.
    pub fn read(&self) -> Result<Vec<Denied>> {
        let mut merged: BTreeMap<Sighting, Denials> = BTreeMap::new();
        for (key, value) in self.rows()? {
            let what = sighting_from_key(&key).with_context(|| format!("refused source {key:?}"))?;
            let sum = merged.entry(what).or_insert(Denials { packets: 0, ..value });
            sum.packets += value.packets;
            sum.first_seen = sum.first_seen.min(value.first_seen);
            sum.last_seen = sum.last_seen.max(value.last_seen);
        }
        let denied = merged.into_iter().map(|(what, sum)| {
            let (first_seen, last_seen) = (wall_clock(sum.first_seen)?, wall_clock(sum.last_seen)?);
            Ok(Denied { what, packets: sum.packets, first_seen, last_seen })
        });
        denied.collect()
    }

    pub fn totals(&self) -> Result<DeniedTotals> {
        let gates = self.gates.get(&0, 0).context("gates of refused sources: cannot be read")?;
        Ok(gates.iter().fold(DeniedTotals::default(), |sum, Plain(one)| DeniedTotals {
            seen: sum.seen
                + one.booked
                + one.lost
                + one.pending
                + u64::from(one.drawn.saturating_sub(one.left)),
            booked: sum.booked + one.booked,
            lost: sum.lost + one.lost,
            records: sum.records + one.records,
        }))
    }

    /// Removes what was counted on a line, before the line serves another database.
    pub fn forget(&mut self, line: RuleSlot) -> Result<()> {
        for (key, _) in self.rows()?.into_iter().filter(|(key, _)| key.line == line) {
            // It may have made room for another one meanwhile.
            patiently(|| {
                absent_is_fine(self.entries.remove(&Plain(key)))
                    .with_context(|| format!("refused sources of line {line}: cannot be removed"))
            })?;
        }
        Ok(())
    }

    /// Read in batches: they go through the table once, however fast it changes meanwhile.
    fn rows(&self) -> Result<Vec<(Denial, Denials)>> {
        syscall::read_map(self.table.fd().as_fd(), DENIALS_SIZE as usize)
            .context("refused sources: cannot be read")
    }
}
