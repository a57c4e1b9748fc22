//! Expected shape of each pinned map. aya adopts any pinned map, and one of another layout would be read out of bounds
//! in this process; the shape is compared first.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{MapData, MapType};
use firewall_common::{
    CACHED_ENDPOINTS, CACHED_VERDICTS, CachedEndpoint, CachedVerdict, DENIALS_SIZE, DatabaseRecord, Denial,
    Denials, Hits, PORT_WORDS, PortWord, Reason, RuleRecord, Sampler, SourceFilter, Tally, names,
};

use super::pins::Pins;

use aya_obj::generated::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC as NO_PREALLOC, BPF_F_RDONLY_PROG};

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
pub(super) fn open(pins: &Pins, name: &str) -> Result<MapData> {
    open_at(&pins.map(name), name)
}

/// Opens a map of firewall-common by this pin.
///
/// # Errors
/// When it is missing, or has another shape.
pub(super) fn open_at(path: &Path, name: &str) -> Result<MapData> {
    let map = MapData::from_pin(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
    let info = map.info().with_context(|| format!("{}: cannot be looked at", path.display()))?;
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
