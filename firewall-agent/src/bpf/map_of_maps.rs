//! Inner maps: built unpublished, read back, frozen, pinned, then published with one pointer update.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, IterableMap as _, Map, MapData, MapError};
use tracing::warn;

use super::{
    layouts::PinnedMaps,
    pins::{entries, unpin},
    shapes::Shape,
    slots::{Slot, at_once, slot_ids, waits},
    syscall,
};
use crate::host::retry::patiently;

/// An outer array of maps.
pub(super) struct Outer {
    ids: Array<MapData, u32>,
    /// Directory of the inner maps' pins.
    dir: PathBuf,
    /// The published map of each slot, as this process published or adopted it; remains available if its pin is lost.
    published: BTreeMap<u32, Built>,
}

/// An inner map, pinned at `path`; unpublished, or held open after its publish.
pub(super) struct Built {
    map: MapData,
    pub id: u32,
    path: PathBuf,
}

impl Outer {
    pub fn open(maps: &PinnedMaps<'_>, name: &'static str, dir: PathBuf) -> Result<Self> {
        // Opened as a plain array, a slot reads as the inner map's id; opening a map by its id would take
        // CAP_SYS_ADMIN.
        let ids = Array::try_from(Map::Array(maps.open(name)?))?;
        Ok(Self { ids, dir, published: BTreeMap::new() })
    }

    /// Number of slots.
    pub fn len(&self) -> u32 {
        self.ids.len()
    }

    /// Id of the published map.
    pub fn live_id(&self, slot: u32) -> Result<Option<u32>> {
        match self.ids.get(&slot, 0) {
            Ok(id) => Ok(Some(id)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("cannot read slot {slot} of {}", self.dir.display()))
            }
        }
    }

    /// The published map of a slot, opened by its pin unless held open; `None` when the slot is empty or the pin is
    /// gone.
    pub fn live(&self, slot: u32, pin_prefix: &str) -> Result<Option<MapData>> {
        loop {
            let Some(id) = self.live_id(slot)? else { return Ok(None) };
            let live = self.with_id(slot, pin_prefix, id)?;
            // Another process may have published, and unpinned this map, since the id was read.
            if live.is_some() || self.live_id(slot)? == Some(id) {
                return Ok(live);
            }
        }
    }

    /// The map of a slot with this id, opened by its pin unless held open; `None` when the pin is gone.
    pub fn with_id(&self, slot: u32, pin_prefix: &str, id: u32) -> Result<Option<MapData>> {
        if let Some(published) = self.published.get(&slot).filter(|published| published.id == id) {
            return share(&published.map).map(Some);
        }
        for (_, path) in self.pins(&[(slot, pin_prefix.to_owned())])? {
            if let Some(map) = open(&path)?
                && map.info()?.id() == id
            {
                return Ok(Some(map));
            }
        }
        Ok(None)
    }

    /// Holds the published maps of these slots open, for [`Self::restore_pins`], and freezes them: a map published by
    /// another process may still be writable, and a drift check would not see a change.
    pub fn open_published(&mut self, slots: &[(u32, String)]) -> Result<()> {
        let pins = self.pins(slots)?;
        let ids = self.ids_of(pins.iter().map(|(slot, _)| *slot))?;
        for (slot, path) in pins {
            if self.published.contains_key(&slot) {
                continue;
            }
            if let Some(map) = open(&path)?
                && let id = map.info()?.id()
                && ids.get(&slot) == Some(&id)
            {
                ensure_frozen(&map).with_context(|| format!("cannot freeze {}", path.display()))?;
                self.published.insert(slot, Built { map, id, path });
            }
        }
        Ok(())
    }

    /// Returns whether this is the id of another map than the one that this process published or adopted in a slot.
    pub fn is_foreign(&self, slot: u32, id: Option<u32>) -> bool {
        id != self.published.get(&slot).map(|published| published.id)
    }

    /// Restores missing pins of published maps; returns their number.
    pub fn restore_pins(&self) -> Result<u64> {
        // One listing costs a fraction of an access to each pin.
        let pinned: BTreeSet<PathBuf> = entries(&self.dir)?.into_iter().collect();
        let missing = self.published.values().filter(|published| !pinned.contains(&published.path));
        missing.map(|published| pin(&published.map, &published.path).map(|()| 1)).sum()
    }

    /// Makes `built` the live map of a slot, and removes the old map's pin. On return, no packet sees the old map any
    /// more.
    pub fn publish(&mut self, slot: u32, pin_prefix: &str, built: Built) -> Result<()> {
        self.set(slot, &built.map)?;
        self.set_published(slot, built);
        // Also those of refused attempts.
        self.remove_stale(&[(slot, pin_prefix.to_owned())]);
        Ok(())
    }

    /// Holds a published map open, and removes the pin of the one that it replaces. A failure is only logged: a
    /// remaining pin changes nothing that is live, and the next start removes it.
    pub fn set_published(&mut self, slot: u32, built: Built) {
        let id = built.id;
        if let Some(replaced) = self.published.insert(slot, built)
            && replaced.id != id
            && let Err(error) = unpin(&replaced.path)
        {
            warn!(error = format!("{error:#}"), "replaced map not unpinned");
        }
    }

    /// Makes each map the live one of its slot; returns one result for each, in the same order. On return, no packet
    /// sees an old map any more.
    pub fn publish_all(&mut self, built: &[(u32, &Built)]) -> Vec<Result<()>> {
        if let [(first, _), _, ..] = built {
            let slots: Vec<_> = built.iter().map(|(slot, built)| (*slot, built.map.fd().as_fd())).collect();
            let is_in_batch = !waits((self, *first));
            if is_in_batch && syscall::set_slots(self.ids.map().fd().as_fd(), &slots).is_ok() {
                return built.iter().map(|_| Ok(())).collect();
            }
        }
        // Each by itself, to find the refused slot; setting a map that is live already changes nothing.
        at_once(built, |(slot, built)| self.set(*slot, &built.map))
    }

    /// Waits until no packet that was in flight at the call is still being processed.
    pub fn synchronize(&mut self, slot: u32, pin_prefix: &str) -> Result<()> {
        match self.live(slot, pin_prefix)? {
            // The kernel waits for those packets whenever a slot is written.
            Some(live) => self.set(slot, &live),
            None => {
                let is_unpinned = self.live_id(slot)?.is_some();
                ensure!(!is_unpinned, "{}: the pin of the map in slot {slot} is missing", self.dir.display());
                Ok(())
            }
        }
    }

    fn set(&self, slot: u32, map: &MapData) -> Result<()> {
        patiently(|| {
            syscall::set_slots(self.ids.map().fd().as_fd(), &[(slot, map.fd().as_fd())])
                .with_context(|| format!("cannot publish slot {slot} of {}", self.dir.display()))
        })
    }

    /// Removes the pins of unpublished maps of these slots. A failure is only logged: a remaining pin changes nothing
    /// that is live, and the next publish retries.
    pub fn remove_stale(&self, slots: &[(u32, String)]) {
        let remove_stale = || -> Result<()> {
            let mut pinned = Vec::new();
            for (slot, path) in self.pins(slots)? {
                if let Some(map) = open(&path)? {
                    pinned.push((slot, path, map.info()?.id()));
                }
            }
            // Read after the pins: a map published in between is live.
            let live = self.ids_of(pinned.iter().map(|(slot, ..)| *slot))?;
            let stale = pinned.iter().filter(|(slot, _, id)| live.get(slot) != Some(id));
            stale.into_iter().try_for_each(|(_, path, _)| unpin(path))
        };
        if let Err(error) = remove_stale() {
            warn!(error = format!("{error:#}"), "pins of unpublished maps not removed");
        }
    }

    /// The highest number in the pins' names.
    pub fn highest_number(&self) -> Result<u64> {
        let numbers = entries(&self.dir)?;
        let number = |path: &PathBuf| path.file_name()?.to_str()?.rsplit_once('-')?.1.parse().ok();
        Ok(numbers.iter().filter_map(number).max().unwrap_or(0))
    }

    /// The ids of the published maps of these slots, without empty slots.
    fn ids_of(&self, slots: impl Iterator<Item = u32>) -> Result<BTreeMap<u32, u32>> {
        let slots: BTreeSet<u32> = slots.collect();
        let of: Vec<Slot<'_>> = slots.iter().map(|slot| (self, *slot)).collect();
        Ok(slots.iter().zip(slot_ids(&of)?).filter_map(|(slot, id)| Some((*slot, id?))).collect())
    }

    /// The pins of these slots, each with its slot, sorted by name, which is `<pin_prefix><number>`.
    fn pins(&self, slots: &[(u32, String)]) -> Result<Vec<(u32, PathBuf)>> {
        let slots: BTreeMap<&str, u32> =
            slots.iter().map(|(slot, pin_prefix)| (pin_prefix.as_str(), *slot)).collect();
        let pin = |path: PathBuf| Some((*slots.get(pin_prefix(path.file_name()?.to_str()?)?)?, path));
        Ok(entries(&self.dir)?.into_iter().filter_map(pin).collect())
    }

    /// Builds an inner map of exactly `rows` and pins it as `<pin_prefix><number>`. `fill` writes the rows, `read`
    /// returns the kernel's content.
    pub fn build<K: Ord + Debug, V: PartialEq + Debug>(
        &self,
        (pin_prefix, number): (&str, u64),
        shape: &Shape,
        rows: &BTreeMap<K, V>,
        fill: impl Fn(&MapData, &BTreeMap<K, V>) -> Result<()>,
        read: impl Fn(&MapData) -> Result<BTreeMap<K, V>>,
    ) -> Result<Built> {
        let path = self.dir.join(format!("{pin_prefix}{number}"));
        patiently(|| build(&path, shape, rows, &fill, &read))
    }
}

fn build<K: Ord + Debug, V: PartialEq + Debug>(
    path: &Path,
    shape: &Shape,
    rows: &BTreeMap<K, V>,
    fill: impl Fn(&MapData, &BTreeMap<K, V>) -> Result<()>,
    read: impl Fn(&MapData) -> Result<BTreeMap<K, V>>,
) -> Result<Built> {
    let size = u32::try_from(rows.len().max(1))?;
    let Shape { kind, key_size, value_size, flags, .. } = *shape;
    let template = aya_obj::Map::new_from_params(kind, key_size, value_size, size, flags);
    let map = MapData::create(template, "firewall_inner", None)
        .with_context(|| format!("cannot create {} with {size} entries", path.display()))?;
    fill(&map, rows).with_context(|| format!("cannot fill {}", path.display()))?;
    let found = read(&map).with_context(|| format!("cannot read back {}", path.display()))?;
    ensure!(found == *rows, "{}: contents differ from what was written", path.display());
    syscall::freeze(map.fd().as_fd()).with_context(|| format!("cannot freeze {}", path.display()))?;
    pin(&map, path)?;
    let id = map.info()?.id();
    Ok(Built { map, id, path: path.to_owned() })
}

/// Returns the part of a pin's name before its number.
fn pin_prefix(name: &str) -> Option<&str> {
    let (start, number) = name.rsplit_once('-')?;
    number.parse::<u64>().ok()?;
    name.get(..=start.len())
}

/// Opens a pin; `None` when it is gone.
pub(super) fn open(path: &Path) -> Result<Option<MapData>> {
    match MapData::from_pin(path) {
        Ok(map) => Ok(Some(map)),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot open {}", path.display())),
    }
}

/// Returns whether opening a pin failed permanently, because it names a foreign object.
pub(super) fn is_foreign(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())
        .any(|code| [libc::EACCES, libc::EPERM, libc::EINVAL].contains(&code))
}

/// Freezes a map that may be frozen already: then the kernel fails with EPERM, before Linux 6.2 with EBUSY.
fn ensure_frozen(map: &MapData) -> io::Result<()> {
    match syscall::freeze(map.fd().as_fd()) {
        Err(error) if [libc::EPERM, libc::EBUSY].contains(&error.raw_os_error().unwrap_or(0)) => Ok(()),
        frozen => frozen,
    }
}

/// A second handle to the same map.
pub(super) fn share(map: &MapData) -> Result<MapData> {
    Ok(MapData::from_fd(map.fd().as_fd().try_clone_to_owned()?)?)
}

fn pin(map: &MapData, path: &Path) -> Result<()> {
    // A pin left by an interrupted publish; a live map has another number, since numbers only grow.
    unpin(path)?;
    map.pin(path).with_context(|| format!("cannot pin {}", path.display()))
}
