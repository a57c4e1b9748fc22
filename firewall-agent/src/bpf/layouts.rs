//! Layout migration: maps left on this host by an older or a newer agent.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use firewall_common::names;
use tracing::{info, warn};

use super::{
    pins::{Pins, entries, unpin},
    shape,
};

/// Maps with the same meaning in every layout with the same shape: the counters and their metadata. They continue
/// through a change of layout.
const CARRIED: [&str; 4] = [names::REASONS, names::RULE_HITS, names::RULES, names::DATABASES];

/// Maps that must be of the same age: the generation makes a cached verdict valid, and a recorder ends the run of a
/// packet with the action stored in the sampler.
const TOGETHER: [&[&str]; 2] =
    [&[names::GENERATION, names::VERDICTS, names::ENDPOINT_CACHE], &[names::RECORDERS, names::SAMPLER]];

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
pub(super) fn carry_over(pins: &Pins) -> Result<()> {
    let there = |name| {
        pins.map(name)
            .try_exists()
            .with_context(|| format!("{}: cannot be looked at", pins.map(name).display()))
    };
    if there(names::ENDPOINTS)? {
        return Ok(());
    }
    for layout in other_layouts(pins)? {
        let maps: Result<Vec<MapData>> =
            CARRIED.into_iter().map(|name| shape::open_at(&layout.join(name), name)).collect();
        match maps {
            Ok(maps) => {
                for (name, map) in CARRIED.into_iter().zip(maps) {
                    let path = pins.map(name);
                    // Left by an interrupted start.
                    unpin(&path)?;
                    map.pin(&path).with_context(|| format!("{}: cannot be pinned", path.display()))?;
                }
                info!(from = %layout.display(), "counters go on from another map layout");
                return Ok(());
            }
            Err(error) => {
                warn!(from = %layout.display(), error = format!("{error:#}"), "counters start at zero");
            }
        }
    }
    Ok(())
}

/// Removes the pins of a group of maps with a missing pin, so that all of the group are created again: a newer
/// generation would make entries of an older cache valid. The attached program uses the old maps until its link is
/// updated.
pub(super) fn unpin_incomplete(pins: &Pins) -> Result<()> {
    for maps in TOGETHER {
        let there = |name: &&str| {
            let path = pins.map(name);
            path.try_exists().with_context(|| format!("cannot stat {}", path.display()))
        };
        let there: Vec<bool> = maps.iter().map(there).collect::<Result<_>>()?;
        if there.contains(&false) && there.contains(&true) {
            warn!(
                maps = maps.join(", "),
                "some of these maps have lost their pins: all of them are made anew"
            );
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
        fs::remove_dir_all(&layout).with_context(|| format!("{}: cannot be removed", layout.display()))?;
        info!(layout = %layout.display(), "taken over from another map layout, which is gone now");
    }
    Ok(())
}
