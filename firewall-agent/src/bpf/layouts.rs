//! Map layouts: checks the shape of each pinned map, and migrates maps left by an older or a newer agent.
//!
//! aya adopts any pinned map, and one of another layout would be read out of bounds in this process. The agent first
//! compares its shape with the one that the embedded object declares.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use firewall_common::names::{self, CONTRACT, Entries, Group};
use tracing::{info, warn};

use super::{
    pins::{Pins, entries, unpin},
    shapes,
};

/// Opens a pinned map of firewall-common.
///
/// # Errors
/// When it is missing, or has another shape.
pub(super) fn open_map(pins: &Pins, name: &str) -> Result<MapData> {
    open_map_at(&pins.map(name), name)
}

/// Opens a map of firewall-common by this pin.
///
/// # Errors
/// When it is missing, or has another shape.
pub(super) fn open_map_at(path: &Path, name: &str) -> Result<MapData> {
    let map = MapData::from_pin(path).with_context(|| format!("cannot open {}", path.display()))?;
    let info = map.info().with_context(|| format!("cannot query {}", path.display()))?;
    let contract = CONTRACT.into_iter().find(|map| map.name == name);
    let contract = contract.with_context(|| format!("{name}: not a map of this layout"))?;
    let want = shapes::shape(name)?;
    let entries = match contract.entries {
        Entries::Declared => want.entries,
        // Sized by the configuration of the agent that created it.
        Entries::Databases | Entries::Counters => info.max_entries(),
    };
    let compared = [
        ("type", want.kind, info.map_type()? as u32),
        ("key size", want.key_size, info.key_size()),
        ("value size", want.value_size, info.value_size()),
        ("flags", want.flags, info.map_flags()),
        ("number of entries", entries, info.max_entries()),
    ];
    for (what, want, found) in compared {
        ensure!(want == found, "{}: {what} is {found}, this agent needs {want}", path.display());
    }
    Ok(map)
}

/// Opens the pinned maps for one process, and records their kernel ids.
pub(super) struct PinnedMaps<'a> {
    pub pins: &'a Pins,
    opened: RefCell<BTreeMap<&'static str, u32>>,
}

impl<'a> PinnedMaps<'a> {
    pub fn new(pins: &'a Pins) -> Self {
        Self { pins, opened: RefCell::default() }
    }

    /// Opens a pinned map of firewall-common.
    ///
    /// # Errors
    /// As [`open_map`]; or when its pin names another map than the last time.
    pub fn open(&self, name: &'static str) -> Result<MapData> {
        let map = open_map(self.pins, name)?;
        let id = map.info()?.id();
        let before = self.opened.borrow_mut().insert(name, id);
        ensure!(before.is_none_or(|before| before == id), "map {name}: its pin was replaced");
        Ok(map)
    }

    /// Names and kernel ids of the maps opened so far.
    pub fn into_ids(self) -> BTreeMap<&'static str, u32> {
        self.opened.into_inner()
    }
}

/// Directories of other layouts, `v<number>`.
///
/// # Errors
/// When the agent's directory on bpffs cannot be read.
pub fn other_layouts(pins: &Pins) -> Result<Vec<PathBuf>> {
    let mut others = entries(pins.root())?;
    others.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name != names::LAYOUT && name.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok())
    });
    Ok(others)
}

/// Number of databases with allow lists in a layout: tries are pinned as `<family>-<slot>-<generation>`.
///
/// # Errors
/// When its directory cannot be read.
pub fn databases_in(layout: &Path) -> Result<usize> {
    let tries = entries(&layout.join(names::SOURCES_DIR))?;
    let slot = |path: &PathBuf| Some(path.file_name()?.to_str()?.split('-').nth(1)?.to_owned());
    Ok(tries.iter().filter_map(slot).collect::<BTreeSet<_>>().len())
}

/// Pins the counters of another layout in this one, unless this one has its maps already: all of them or none.
pub(super) fn migrate_counters(pins: &Pins) -> Result<()> {
    let is_pinned = |name| {
        pins.map(name).try_exists().with_context(|| format!("cannot stat {}", pins.map(name).display()))
    };
    if is_pinned(names::ENDPOINTS)? {
        return Ok(());
    }
    let migrated: Vec<&str> = CONTRACT.iter().filter(|map| map.migrated).map(|map| map.name).collect();
    for layout in other_layouts(pins)? {
        let maps: Result<Vec<MapData>> =
            migrated.iter().map(|name| open_map_at(&layout.join(name), name)).collect();
        match maps {
            Ok(maps) => {
                for (name, map) in migrated.into_iter().zip(maps) {
                    let path = pins.map(name);
                    // Left by an interrupted start.
                    unpin(&path)?;
                    map.pin(&path).with_context(|| format!("cannot pin {}", path.display()))?;
                }
                info!(from = %layout.display(), "counters migrated from another map layout");
                return Ok(());
            }
            Err(error) => {
                warn!(
                    from = %layout.display(),
                    error = format!("{error:#}"),
                    "counters not migrated, they start at zero"
                );
            }
        }
    }
    Ok(())
}

/// Removes the pins of a group of maps with a missing pin, so that all of the group are created again: a newer
/// generation would make entries of an older cache valid. The attached program uses the old maps until its link is
/// updated.
pub(super) fn unpin_incomplete(pins: &Pins) -> Result<()> {
    for group in Group::ALL {
        let of_group = CONTRACT.iter().filter(|map| map.group == Some(group));
        let maps: Vec<&str> = of_group.map(|map| map.name).collect();
        let is_pinned = |name: &&str| {
            let path = pins.map(name);
            path.try_exists().with_context(|| format!("cannot stat {}", path.display()))
        };
        let pinned: Vec<bool> = maps.iter().map(is_pinned).collect::<Result<_>>()?;
        if pinned.contains(&false) && pinned.contains(&true) {
            warn!(maps = maps.join(", "), "maps recreated, some of their pins were missing");
            maps.iter().try_for_each(|name| unpin(&pins.map(name)))?;
        }
    }
    Ok(())
}

/// Removes the pins of other layouts; no program may use their maps any more.
///
/// # Errors
/// When bpffs refuses.
pub fn remove_other_layouts(pins: &Pins) -> Result<()> {
    for layout in other_layouts(pins)? {
        fs::remove_dir_all(&layout).with_context(|| format!("cannot remove {}", layout.display()))?;
        info!(layout = %layout.display(), "map layout migrated, old layout removed");
    }
    Ok(())
}
