//! Refused packets: the kernel's bounded table of sources, and the totals of recorded and unrecorded packets.

use std::{collections::BTreeMap, net::IpAddr, os::fd::AsFd as _};

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use firewall_common::{CpuState, Denial, Denials, Reason, Sampler, SocketDenial, names};
use jiff::Timestamp;

use super::{
    convert::{Plain, flow_from_key},
    counters::wall_clock,
    layouts::PinnedMaps,
    records::absent_is_fine,
    syscall,
};
use crate::{host::retry::patiently, rules::Protocol, sync::CounterId};

/// Kind of a refused packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The first packet of a TCP connection.
    Syn,
    /// Any other TCP packet.
    Tcp,
    Udp,
    /// Neither TCP nor UDP, or unknown (a fragment, a broken header).
    None,
}

/// One source refused at one destination for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeniedFlow {
    /// `None` when the packet's addresses could not be read.
    pub source: Option<IpAddr>,
    /// `None` when the packet's addresses could not be read.
    pub destination: Option<IpAddr>,
    /// Host byte order; 0 when unknown.
    pub port: u16,
    /// `None` when unknown.
    pub protocol: Option<Protocol>,
    /// The rule counter of the packets; 0 when no database decided.
    pub counter: CounterId,
    pub reason: Reason,
    pub class: Class,
    pub hook: Hook,
}

/// Place at which packets were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// On a filtered interface.
    Xdp,
    /// Where they entered a socket, after they came over the interface with this index in the socket's network namespace;
    /// 0 when unknown.
    Socket(u32),
}

/// Packet count and times of a refused source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    pub what: DeniedFlow,
    /// Packets: all of them at a low rate, sampled under a flood.
    pub packets: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
}

/// Count of one CPU for a refused source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenialEntry {
    pub what: DeniedFlow,
    pub cpu: u16,
    pub packets: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds: identifies the entry among all of this flow and CPU.
    pub first_seen_ns: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
}

/// Totals since the table was created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeniedTotals {
    /// Refused packets; in monitor mode, those that would have been refused.
    pub seen: u64,
    /// Packets represented by entries when these were written, evicted entries included.
    pub recorded: u64,
    /// Packets that no entry ever represented.
    pub unrecorded: u64,
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
    states: PerCpuArray<MapData, Plain<CpuState>>,
    socket_table: MapData,
    socket_entries: HashMap<MapData, Plain<SocketDenial>, Plain<Denials>>,
    socket_samplers: PerCpuArray<MapData, Plain<Sampler>>,
}

impl DenialTable {
    pub fn open(maps: &PinnedMaps<'_>) -> Result<Self> {
        Ok(Self {
            table: maps.open(names::DENIALS)?,
            entries: HashMap::try_from(Map::LruHashMap(maps.open(names::DENIALS)?))?,
            states: PerCpuArray::try_from(Map::PerCpuArray(maps.open(names::CPU_STATE)?))?,
            socket_table: maps.open(names::SOCKET_DENIALS)?,
            socket_entries: HashMap::try_from(Map::LruHashMap(maps.open(names::SOCKET_DENIALS)?))?,
            socket_samplers: PerCpuArray::try_from(Map::PerCpuArray(maps.open(names::SOCKET_SAMPLER)?))?,
        })
    }

    /// Every entry, summed over the CPUs, in no order.
    pub fn read(&self) -> Result<Vec<Denied>> {
        let mut merged: BTreeMap<DeniedFlow, Denials> = BTreeMap::new();
        for (what, _, value) in self.flows()? {
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

    /// Every entry, in no order.
    pub fn entries(&self) -> Result<Vec<DenialEntry>> {
        let entries = self.flows()?.into_iter().map(|(what, cpu, value)| {
            Ok(DenialEntry {
                what,
                cpu,
                packets: value.packets,
                first_seen_ns: value.first_seen,
                first_seen: wall_clock(value.first_seen)?,
                last_seen: wall_clock(value.last_seen)?,
            })
        });
        entries.collect()
    }

    /// The entries of both tables with their CPUs.
    fn flows(&self) -> Result<Vec<(DeniedFlow, u16, Denials)>> {
        let on_interfaces = self.rows()?.into_iter().map(|(key, value)| (key, Hook::Xdp, value));
        let at_sockets = self.socket_rows()?.into_iter();
        let at_sockets = at_sockets.map(|(key, value)| (key.denial, Hook::Socket(key.interface), value));
        let flows = on_interfaces.chain(at_sockets).map(|(key, hook, value)| {
            let what = flow_from_key(&key, hook).with_context(|| format!("denied source {key:?}"))?;
            Ok((what, key.cpu, value))
        });
        flows.collect()
    }

    pub fn totals(&self) -> Result<DeniedTotals> {
        let mut sum = DeniedTotals::default();
        let cannot_read = "cannot read the totals of denied packets";
        let states = self.states.get(&0, 0).context(cannot_read)?;
        let socket_samplers = self.socket_samplers.get(&0, 0).context(cannot_read)?;
        let on_interfaces = states.iter().map(|Plain(state)| &state.sampler.totals);
        let at_sockets = socket_samplers.iter().map(|Plain(sampler)| &sampler.totals);
        for totals in on_interfaces.chain(at_sockets) {
            sum.seen += totals.seen;
            sum.recorded += totals.recorded;
            sum.unrecorded += totals.unrecorded;
            sum.records += totals.records;
        }
        Ok(sum)
    }

    /// Removes the entries of a rule counter, before another database reuses it.
    pub fn forget(&mut self, counter: CounterId) -> Result<()> {
        for (key, _) in self.rows()?.into_iter().filter(|(key, _)| key.counter == counter.0) {
            // The entry may have been evicted since it was read.
            patiently(|| {
                absent_is_fine(self.entries.remove(&Plain(key)))
                    .with_context(|| format!("cannot remove the denied sources of rule counter {counter}"))
            })?;
        }
        for (key, _) in self.socket_rows()?.into_iter().filter(|(key, _)| key.denial.counter == counter.0) {
            patiently(|| {
                absent_is_fine(self.socket_entries.remove(&Plain(key)))
                    .with_context(|| format!("cannot remove the denied sources of rule counter {counter}"))
            })?;
        }
        Ok(())
    }

    fn socket_rows(&self) -> Result<Vec<(SocketDenial, Denials)>> {
        syscall::read_map(self.socket_table.fd().as_fd())
            .context("cannot read the sources denied at a socket")
    }

    /// Reads in batches: one pass through the table, however fast it changes.
    fn rows(&self) -> Result<Vec<(Denial, Denials)>> {
        syscall::read_map(self.table.fd().as_fd()).context("cannot read the denied sources")
    }
}
