//! Map layouts: the expected shape of each pinned map, and the migration of maps left by an older or a newer agent.
//!
//! aya adopts any pinned map, and one of another layout would be read out of bounds in this process; the shape is
//! compared first.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{MapData, MapType};
use aya_obj::generated::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC as NO_PREALLOC, BPF_F_RDONLY_PROG};
use firewall_common::{
    CACHED_ENDPOINTS, CACHED_VERDICTS, CachedEndpoint, CachedVerdict, DENIALS_SIZE, DatabaseRecord, Denial,
    Denials, Hits, PORT_WORDS, PortWord, Reason, RuleRecord, Sampler, SourceFilter, Tally, names,
};
use tracing::{info, warn};

use super::pins::{Pins, entries, unpin};

/// Maps with the same meaning in every layout with the same shape: the counters and their metadata. They continue
/// through a change of layout.
const CARRIED: [&str; 4] = [names::REASONS, names::RULE_HITS, names::RULES, names::DATABASES];

/// Maps that must be of the same age: the generation makes a cached verdict valid, and a recorder ends the run of a
/// packet with the action stored in the sampler.
const TOGETHER: [&[&str]; 2] =
    [&[names::GENERATION, names::VERDICTS, names::ENDPOINT_CACHE], &[names::RECORDERS, names::SAMPLER]];

/// Type, sizes and flags of a map.
struct Shape {
    kind: MapType,
    key: usize,
    value: usize,
    flags: u32,
    /// `None`: chosen when the map is created.
    entries: Option<u32>,
}

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
    let want = shape(name)?;
    let compared = [
        ("type", want.kind as u32, info.map_type()? as u32),
        ("key size", u32::try_from(want.key)?, info.key_size()),
        ("value size", u32::try_from(want.value)?, info.value_size()),
        ("flags", want.flags, info.map_flags()),
        ("number of entries", want.entries.unwrap_or(info.max_entries()), info.max_entries()),
    ];
    for (what, want, found) in compared {
        ensure!(want == found, "{}: {what} is {found}, this agent needs {want}", path.display());
    }
    Ok(map)
}

fn shape(name: &str) -> Result<Shape> {
    let outer = Shape { kind: MapType::ArrayOfMaps, key: 4, value: 4, flags: 0, entries: None };
    Ok(match name {
        names::PORTS => {
            Shape { kind: MapType::Array, value: size_of::<PortWord>(), entries: Some(PORT_WORDS), ..outer }
        }
        names::ENDPOINTS => Shape { entries: Some(1), ..outer },
        names::SOURCES_V4 | names::SOURCES_V6 => outer,
        names::REASONS => Shape {
            kind: MapType::PerCpuArray,
            value: size_of::<Tally>(),
            entries: Some(u32::try_from(Reason::ALL.len())?),
            ..outer
        },
        names::RULE_HITS => Shape { kind: MapType::PerCpuArray, value: size_of::<Hits>(), ..outer },
        names::RULES => {
            Shape { kind: MapType::Hash, value: size_of::<RuleRecord>(), flags: NO_PREALLOC, ..outer }
        }
        names::DATABASES => {
            Shape { kind: MapType::Hash, value: size_of::<DatabaseRecord>(), flags: NO_PREALLOC, ..outer }
        }
        names::DENIALS => Shape {
            kind: MapType::LruHash,
            key: size_of::<Denial>(),
            value: size_of::<Denials>(),
            flags: 0,
            entries: Some(DENIALS_SIZE),
        },
        names::SAMPLER => {
            Shape { kind: MapType::PerCpuArray, value: size_of::<Sampler>(), entries: Some(1), ..outer }
        }
        names::RECORDERS => Shape { kind: MapType::ProgramArray, entries: Some(2), ..outer },
        names::GENERATION => Shape {
            kind: MapType::Array,
            value: size_of::<u64>(),
            flags: BPF_F_MMAPABLE,
            entries: Some(1),
            ..outer
        },
        names::VERDICTS => Shape {
            kind: MapType::PerCpuArray,
            value: size_of::<CachedVerdict>(),
            entries: Some(CACHED_VERDICTS),
            ..outer
        },
        names::ENDPOINT_CACHE => Shape {
            kind: MapType::PerCpuArray,
            value: size_of::<CachedEndpoint>(),
            entries: Some(CACHED_ENDPOINTS),
            ..outer
        },
        names::PREFILTER_V4 | names::PREFILTER_V6 => Shape {
            kind: MapType::Array,
            value: size_of::<SourceFilter>(),
            flags: BPF_F_RDONLY_PROG,
            ..outer
        },
        other => bail!("{other}: not a map of this layout"),
    })
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
pub(super) fn carry_over(pins: &Pins) -> Result<()> {
    let there = |name| {
        pins.map(name).try_exists().with_context(|| format!("cannot stat {}", pins.map(name).display()))
    };
    if there(names::ENDPOINTS)? {
        return Ok(());
    }
    for layout in other_layouts(pins)? {
        let maps: Result<Vec<MapData>> =
            CARRIED.into_iter().map(|name| open_map_at(&layout.join(name), name)).collect();
        match maps {
            Ok(maps) => {
                for (name, map) in CARRIED.into_iter().zip(maps) {
                    let path = pins.map(name);
                    // Left by an interrupted start.
                    unpin(&path)?;
                    map.pin(&path).with_context(|| format!("cannot pin {}", path.display()))?;
                }
                info!(from = %layout.display(), "counters taken over from another map layout");
                return Ok(());
            }
            Err(error) => {
                warn!(
                    from = %layout.display(),
                    error = format!("{error:#}"),
                    "counters not taken over, they start at zero"
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
    for maps in TOGETHER {
        let there = |name: &&str| {
            let path = pins.map(name);
            path.try_exists().with_context(|| format!("cannot stat {}", path.display()))
        };
        let there: Vec<bool> = maps.iter().map(there).collect::<Result<_>>()?;
        if there.contains(&false) && there.contains(&true) {
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
