//! Drift detection and repair: compares the kernel's objects with the state that this process last left in them.
//!
//! Every object that influences a verdict, and the drift check's test for a change by another process:
//!
//! | object | compared | repaired as |
//! |---|---|---|
//! | link on an interface | its interface and program, by the link held open; XDP on every interface, in one list | `link`, `link_program` |
//! | link of the socket filter | its control group and program, by the link held open | `socket_link` |
//! | `firewall`, the attached program | its kernel id, on every link; its instructions, maps and constants (`ACCELERATIONS`) cannot change | `link_program` |
//! | `socket_filter`, its program | its kernel id, on the link; its instructions, maps and constants cannot change | `socket_link` |
//! | the probe programs, and the pins of `firewall` and `socket_filter` | kernel id of the pinned program | `pin` |
//! | `PORTS`: claimed and guarded ports; `NEW_CONNECTIONS`: the kind of guard | their whole content | `ports` |
//! | `ENDPOINTS` | id of the published table | `endpoints` |
//! | the published table: endpoints, tombstones, the address index | frozen for userspace, read-only for programs | – |
//! | `SOURCES_V4`, `SOURCES_V6` | id of the published trie, and the record of the database | `sources` |
//! | `BLOCKED_V4`, `BLOCKED_V6` | id of each published block list | `blocks` |
//! | the published tries | frozen for userspace, read-only for programs | – |
//! | `PREFILTER_V4`, `PREFILTER_V6`: source prefilters | digest of each; beyond 16 databases, of an eighth of them in turn | `filters` |
//! | `GENERATION` | the number last written by this process | `generation` |
//! | `VERDICTS`, `ENDPOINT_CACHE`: caches | not compared: each check changes the generation, so no entry is valid for longer than one `drift_interval` | – |
//! | `RECORDERS`: programs that end the run of a refused packet | their kernel ids | `recorders` |
//! | `CPU_STATE`: the recorder's return value | written for each packet right before it is read | – |
//! | `SOCKETS`: marks of sockets | not compared: userspace reads a socket's storage only through the socket's descriptor | – |
//! | identity of all these maps | kernel ids: the loaded program uses, this process writes, and the pins name the same maps | `pin` |
//!
//! The other fields of `CPU_STATE`, and `RULE_HITS`, `RULES`, `DATABASES`, `DENIALS`, `SOCKET_TRAFFIC`, `SOCKET_DENIALS`
//! and `SOCKET_SAMPLER`, influence no verdict.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use firewall_common::names::{self, CONTRACT, SharedMap, UsedBy};

use super::{
    kernel::Kernel,
    layouts,
    map_of_maps::{is_foreign, open},
    pins::{Pins, rename, unpin},
    programs::{Programs, Recorders},
    syscall,
};
use crate::sync::{Drift, Live};

/// Databases with prefilters that one check compares at least.
const FILTERS_AT_ONCE: usize = 16;
/// Most checks until every prefilter was compared.
const FILTER_PARTS: usize = 8;

/// The databases with prefilters that the check of this number compares.
fn part_of<T>(slots: impl ExactSizeIterator<Item = T>, check: usize) -> impl Iterator<Item = T> {
    let parts = slots.len().div_ceil(FILTERS_AT_ONCE).clamp(1, FILTER_PARTS);
    slots.skip(check % parts).step_by(parts)
}

impl Kernel {
    /// Holds every published map open, so that a removed pin can be restored.
    ///
    /// # Errors
    /// When a pin cannot be opened.
    pub fn open_published(&mut self) -> Result<()> {
        self.v4.open_published()?;
        self.v6.open_published()?;
        self.blocks.open_published()?;
        self.endpoints.open_published()
    }

    /// The difference from `live`, the state that this process last published or adopted. Each call compares another part
    /// of the source prefilters: they are most of the bytes, and a wrong one cuts an allowed source but never lets a
    /// refused one pass.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn drift(&mut self, live: &Live) -> Result<Drift> {
        let mut drift = Drift {
            ports: self.ports.read()? != (live.claimed.clone(), live.guarded.clone()),
            table: self.endpoints.has_drifted()?,
            blocks: self.blocks.has_drifted()?,
            ..Drift::default()
        };
        self.drift_checks = self.drift_checks.wrapping_add(1);
        for slot in part_of(live.databases.keys().copied(), self.drift_checks) {
            drift.filters |= self.prefilter_v4.has_drifted(slot)? || self.prefilter_v6.has_drifted(slot)?;
        }
        let known = live.databases.iter().filter(|(_, database)| database.stamp.is_some());
        let ids = self.trie_ids(known.clone().map(|(slot, _)| *slot))?;
        for ((slot, database), (_, ids)) in known.zip(ids) {
            if self.v4.is_foreign(*slot, ids[0])
                || self.v6.is_foreign(*slot, ids[1])
                || !self.is_recorded(*slot, database, ids)?
            {
                drift.sources.insert(*slot);
            }
        }
        Ok(drift)
    }

    /// Restores missing pins of published maps; returns their number.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn restore_pins(&self) -> Result<u64> {
        let sources = self.v4.restore_pins()? + self.v6.restore_pins()?;
        Ok(sources + self.blocks.restore_pins()? + self.endpoints.restore_pins()?)
    }
}

/// The named pinned maps, held open.
#[derive(Debug)]
pub struct NamedMaps {
    maps: Vec<(&'static str, u32, MapData)>,
    recorders: Recorders,
}

impl NamedMaps {
    /// Opens the named maps, and verifies that the loaded program decides by them.
    ///
    /// # Errors
    /// When one is missing, or the program uses another map instead.
    pub fn new(pins: &Pins, programs: &mut Programs) -> Result<Self> {
        let mut maps = Vec::new();
        for name in names::MAPS {
            let map = layouts::open_map(pins, name)?;
            maps.push((name, map.info()?.id(), map));
        }
        let recorders = maps.iter().find(|(name, ..)| *name == names::RECORDERS);
        let (_, _, recorders) = recorders.context("map recorders: not pinned")?;
        let named = Self { recorders: Recorders::new(recorders)?, maps };
        named.ensure_used(programs)?;
        Ok(named)
    }

    /// Fails unless the programs to attach decide by these maps.
    ///
    /// # Errors
    /// The map that it does not use.
    pub fn ensure_used(&self, programs: &mut Programs) -> Result<()> {
        let firewall = programs.firewall()?.fd().context("program firewall: not loaded")?;
        let used =
            syscall::program_maps(firewall.as_fd()).context("program firewall: cannot list its maps")?;
        for (name, id, _) in self.deciding(UsedBy::Firewall) {
            ensure!(used.contains(id), "program firewall: does not use the map that is pinned as {name}");
        }
        let Some(filter) = programs.socket_filter()? else { return Ok(()) };
        let name = names::SOCKET_FILTER;
        let used = syscall::program_maps(filter.fd()?.as_fd())
            .with_context(|| format!("program {name}: cannot list its maps"))?;
        for (map, id, _) in self.deciding(UsedBy::SocketFilter) {
            ensure!(used.contains(id), "program {name}: does not use the map that is pinned as {map}");
        }
        Ok(())
    }

    /// The maps by which this program decides.
    fn deciding(&self, program: UsedBy) -> impl Iterator<Item = &(&'static str, u32, MapData)> {
        let is_used = move |map: &SharedMap| map.decides && [UsedBy::Both, program].contains(&map.used_by);
        self.maps
            .iter()
            .filter(move |(name, ..)| CONTRACT.iter().any(|map| map.name == *name && is_used(map)))
    }

    /// Fails unless `kernel` reads and writes these maps.
    ///
    /// # Errors
    /// The map that differs.
    pub fn ensure_written(&self, kernel: &Kernel) -> Result<()> {
        for (name, id) in kernel.opened() {
            let is_used = self.maps.iter().any(|(used, used_id, _)| (used, used_id) == (name, id));
            ensure!(is_used, "map {name}: the agent writes to map {id}, the program reads another one");
        }
        Ok(())
    }

    /// Restores the recorders of the loaded builds in the tail-call map, and clears the entry of a build that is not
    /// loaded; returns the number of wrong entries.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    pub fn repair_recorders(
        &mut self,
        programs: &mut Programs,
        packet_log: Option<&mut Programs>,
    ) -> Result<u64> {
        let mut repaired = 0;
        let idle = packet_log.is_none().then_some(names::PACKET_LOGGER_INDEX);
        for build in [Some(programs), packet_log].into_iter().flatten() {
            let (index, ours, program) = build.recorder()?;
            if self.recorders.id(index)? != Some(ours) {
                self.recorders.set(index, program)?;
                repaired += 1;
            }
        }
        if let Some(index) = idle
            && self.recorders.id(index)?.is_some()
        {
            self.recorders.clear(index)?;
            repaired += 1;
        }
        Ok(repaired)
    }

    /// Restores every named map's pin that is missing or names another object; returns their number.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn restore_pins(&self, pins: &Pins) -> Result<u64> {
        let mut again = 0;
        for (name, id, map) in &self.maps {
            let path = pins.map(name);
            let pinned = match open(&path) {
                Err(error) if is_foreign(&error) => None,
                pinned => pinned?.map(|map| map.info()).transpose()?.map(|info| info.id()),
            };
            if pinned != Some(*id) {
                // Pinned under a temporary name first: a pin is replaced, never removed.
                let next = pins.map(&format!("{name}-next"));
                unpin(&next)?;
                map.pin(&next).with_context(|| format!("cannot pin {} again", path.display()))?;
                rename(&next, &path)?;
                again += 1;
            }
        }
        Ok(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_checks_compare_every_prefilter_and_one_compares_few() {
        for databases in [0, 1, 16, 17, 100, 256, 1_000] {
            let mut compared: Vec<usize> = (5..5 + FILTER_PARTS)
                .flat_map(|check| {
                    let part: Vec<usize> = part_of(0..databases, check).collect();
                    assert!(part.len() <= FILTERS_AT_ONCE.max(databases.div_ceil(FILTER_PARTS)), "{part:?}");
                    part
                })
                .collect();
            compared.sort_unstable();
            compared.dedup();
            assert!(compared.into_iter().eq(0..databases), "{databases}");
        }
    }
}
