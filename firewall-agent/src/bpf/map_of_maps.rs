//! Inner maps: built unpublished, read back, frozen, pinned, then published with one pointer update.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, ArrayOfMaps, IterableMap as _, Map, MapData, MapError};
use tracing::warn;

use super::{
    layouts::PinnedMaps,
    pins::{entries, unpin},
    shapes::Shape,
    syscall,
};
use crate::host::retry::patiently;

/// An outer array of maps, opened twice: for reading the ids of its inner maps, and for publishing.
pub(super) struct Outer {
    ids: Array<MapData, u32>,
    slots: ArrayOfMaps<MapData, MapData>,
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
        let slots = ArrayOfMaps::try_from(Map::ArrayOfMaps(maps.open(name)?))?;
        Ok(Self { ids, slots, dir, published: BTreeMap::new() })
    }

    /// Number of slots.
    pub fn len(&self) -> u32 {
        self.slots.len()
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
            if let Some(published) = self.published.get(&slot).filter(|published| published.id == id) {
                return share(&published.map).map(Some);
            }
            if let Some((map, _)) = self.by_pin(pin_prefix, id)? {
                return Ok(Some(map));
            }
            // Another process may have published, and unpinned this map, since the id was read.
            if self.live_id(slot)? == Some(id) {
                return Ok(None);
            }
        }
    }

    /// The map with this id among the pins of a slot, and its pin.
    fn by_pin(&self, pin_prefix: &str, id: u32) -> Result<Option<(MapData, PathBuf)>> {
        for path in self.pinned(pin_prefix)? {
            if let Some(map) = open(&path)?
                && map.info()?.id() == id
            {
                return Ok(Some((map, path)));
            }
        }
        Ok(None)
    }

    /// Holds the published map of a slot open, for [`Self::restore_pins`], and freezes it: a map published by another
    /// process may still be writable, and a drift check would not see a change.
    pub fn open_published(&mut self, slot: u32, pin_prefix: &str) -> Result<()> {
        if let Some(id) = self.live_id(slot)?
            && let Some((map, path)) = self.by_pin(pin_prefix, id)?
        {
            ensure_frozen(&map).with_context(|| format!("cannot freeze {}", path.display()))?;
            self.published.insert(slot, Built { map, id, path });
        }
        Ok(())
    }

    /// Returns whether a slot points at another map than the one published or adopted by this process.
    pub fn has_drifted(&self, slot: u32) -> Result<bool> {
        Ok(self.live_id(slot)? != self.published.get(&slot).map(|published| published.id))
    }

    /// Restores missing pins of published maps; returns their number.
    pub fn restore_pins(&self) -> Result<u64> {
        let mut restored = 0;
        for published in self.published.values() {
            let cannot_stat = || format!("cannot stat {}", published.path.display());
            if !published.path.try_exists().with_context(cannot_stat)? {
                pin(&published.map, &published.path)?;
                restored += 1;
            }
        }
        Ok(restored)
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
        let slots: Vec<_> = built.iter().map(|(slot, built)| (*slot, built.map.fd().as_fd())).collect();
        if slots.len() > 1 && syscall::set_slots(self.ids.map().fd().as_fd(), &slots).is_ok() {
            return built.iter().map(|_| Ok(())).collect();
        }
        // One by one, to find the refused slot; setting a map that is live already changes nothing.
        built.iter().map(|(slot, built)| self.set(*slot, &built.map)).collect()
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

    fn set(&mut self, slot: u32, map: &MapData) -> Result<()> {
        patiently(|| {
            self.slots
                .set(slot, map, 0)
                .with_context(|| format!("cannot publish slot {slot} of {}", self.dir.display()))
        })
    }

    /// Removes the pins of unpublished maps of these slots. A failure is only logged: a remaining pin changes nothing
    /// that is live, and the next publish retries.
    pub fn remove_stale(&self, slots: &[(u32, String)]) {
        let remove_stale = || -> Result<()> {
            for path in entries(&self.dir)? {
                let Some((slot, _)) = slots.iter().find(|(_, pin_prefix)| has_pin_prefix(&path, pin_prefix))
                else {
                    continue;
                };
                if let Some(map) = open(&path)?
                    && Some(map.info()?.id()) != self.live_id(*slot)?
                {
                    unpin(&path)?;
                }
            }
            Ok(())
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

    /// Pins of a slot: `<pin_prefix><number>`.
    fn pinned(&self, pin_prefix: &str) -> Result<Vec<PathBuf>> {
        let mut paths = entries(&self.dir)?;
        paths.retain(|path| has_pin_prefix(path, pin_prefix));
        Ok(paths)
    }

    /// Builds an inner map of exactly `rows` and pins it as `<pin_prefix><number>`. `fill` writes the rows, `read`
    /// returns the kernel's content.
    pub fn build<K: Ord + Debug, V: PartialEq + Debug>(
        &self,
        (pin_prefix, number): (&str, u64),
        shape: &Shape,
        rows: &BTreeMap<K, V>,
        fill: impl Fn(MapData, &BTreeMap<K, V>) -> Result<()>,
        read: impl Fn(MapData) -> Result<BTreeMap<K, V>>,
    ) -> Result<Built> {
        let path = self.dir.join(format!("{pin_prefix}{number}"));
        patiently(|| build(&path, shape, rows, &fill, &read))
    }
}

fn build<K: Ord + Debug, V: PartialEq + Debug>(
    path: &Path,
    shape: &Shape,
    rows: &BTreeMap<K, V>,
    fill: impl Fn(MapData, &BTreeMap<K, V>) -> Result<()>,
    read: impl Fn(MapData) -> Result<BTreeMap<K, V>>,
) -> Result<Built> {
    let size = u32::try_from(rows.len().max(1))?;
    let Shape { kind, key_size, value_size, flags, .. } = *shape;
    let template = aya_obj::Map::new_from_params(kind, key_size, value_size, size, flags);
    let map = MapData::create(template, "firewall_inner", None)
        .with_context(|| format!("cannot create {} with {size} entries", path.display()))?;
    fill(share(&map)?, rows).with_context(|| format!("cannot fill {}", path.display()))?;
    let found = read(share(&map)?).with_context(|| format!("cannot read back {}", path.display()))?;
    ensure!(found == *rows, "{}: contents differ from what was written", path.display());
    syscall::freeze(map.fd().as_fd()).with_context(|| format!("cannot freeze {}", path.display()))?;
    pin(&map, path)?;
    let id = map.info()?.id();
    Ok(Built { map, id, path: path.to_owned() })
}

/// Returns whether a pin belongs to a slot: `<pin_prefix><number>`.
fn has_pin_prefix(path: &Path, pin_prefix: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_prefix(pin_prefix)).is_some_and(|number| number.parse::<u64>().is_ok())
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
