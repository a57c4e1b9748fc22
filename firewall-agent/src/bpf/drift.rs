//! The kernel's maps against what this process last left in them.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use firewall_common::names;

use super::{
    inner::{is_foreign, open},
    kernel::Kernel,
    object::Programs,
    pins::{Pins, rename, unpin},
    shape, syscall,
};
use crate::sync::{Drift, Live, Slot};

/// Databases whose source filters are compared at one look.
const FILTERS_AT_ONCE: usize = 16;

impl Kernel {
    /// Keeps every published map open from now on: a pin that somebody removes can then be made again.
    ///
    /// # Errors
    /// When a pin cannot be looked at.
    pub fn hold(&mut self) -> Result<()> {
        self.v4.hold()?;
        self.v6.hold()?;
        self.endpoints.hold()
    }

    /// What differs from `live`, which is what this process last published or took over. Tries and the table are
    /// frozen: it is enough to compare which of them the slots point at. `look` counts the looks.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn drift(&self, live: &Live, look: usize) -> Result<Drift> {
        let mut drift = Drift {
            ports: self.ports.read()? != (live.claimed.clone(), live.guarded.clone()),
            table: self.endpoints.strayed()?,
            ..Drift::default()
        };
        // Filters are large: some at each look.
        let slots: Vec<Slot> = live.databases.keys().copied().collect();
        let some = (0..slots.len().min(FILTERS_AT_ONCE))
            .map(|at| slots[(look * FILTERS_AT_ONCE + at) % slots.len()]);
        for slot in some {
            drift.filters |= self.near_v4.strayed(slot)? || self.near_v6.strayed(slot)?;
        }
        for (slot, database) in live.databases.iter().filter(|(_, database)| database.stamp.is_some()) {
            if self.v4.strayed(*slot)? || self.v6.strayed(*slot)? || !self.is_recorded(*slot, database)? {
                drift.sources.insert(*slot);
            }
        }
        Ok(drift)
    }

    /// Pins the published maps again whose pins are gone; how many there were.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn pin_again(&self) -> Result<u64> {
        Ok(self.v4.pin_again()? + self.v6.pin_again()? + self.endpoints.pin_again()?)
    }
}

/// The maps that have names of their own, held open.
#[derive(Debug)]
pub struct Anchors {
    maps: Vec<(&'static str, u32, MapData)>,
}

impl Anchors {
    /// Opens the named maps, and makes sure that the loaded program decides by those.
    ///
    /// # Errors
    /// When one is missing, or the program uses another in its place.
    pub fn new(pins: &Pins, programs: &mut Programs) -> Result<Self> {
        let mut maps = Vec::new();
        for name in names::MAPS {
            let map = shape::open(pins, name)?;
            maps.push((name, map.info()?.id(), map));
        }
        let anchors = Self { maps };
        anchors.ensure_used(programs)?;
        Ok(anchors)
    }

    /// Fails unless the program to attach decides by the maps that are pinned.
    ///
    /// # Errors
    /// The map that it does not use.
    pub fn ensure_used(&self, programs: &mut Programs) -> Result<()> {
        let firewall = programs.firewall()?.fd().context("program firewall: not loaded")?;
        let used =
            syscall::program_maps(firewall.as_fd()).context("program firewall: its maps are unknown")?;
        for (name, id, _) in self.maps.iter().filter(|(name, ..)| names::DECIDING.contains(name)) {
            ensure!(used.contains(id), "program firewall: does not use the map that is pinned as {name}");
        }
        Ok(())
    }

    /// Pins every named map again whose pin is gone or names something else; how many there were.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn pin_again(&self, pins: &Pins) -> Result<u64> {
        let mut again = 0;
        for (name, id, map) in &self.maps {
            let path = pins.map(name);
            let pinned = match open(&path) {
                Err(error) if is_foreign(&error) => None,
                pinned => pinned?.map(|map| map.info()).transpose()?.map(|info| info.id()),
            };
            if pinned != Some(*id) {
                // Beside it first: a pin in place is replaced, never taken away.
                let next = pins.map(&format!("{name}-next"));
                unpin(&next)?;
                map.pin(&next).with_context(|| format!("{}: cannot be pinned again", path.display()))?;
                rename(&next, &path)?;
                again += 1;
            }
        }
        Ok(again)
    }
}
