//! The compiled programs, loaded over the pinned maps, and the tail-call map of the recorders.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, MapError, ProgramArray},
    programs::{CgroupSkb, ProgramFd, Xdp},
};
use aya_obj::programs::XdpAttachType;
use firewall_common::names::{self, CONTRACT, Entries, SharedMap};
use tracing::warn;

use super::{
    features, layouts,
    links::swap,
    map_of_maps::{is_foreign, share},
    pins::{Pins, rename, unpin},
    records::absent_is_fine,
};
use crate::{config::MAX_RULE_COUNTERS, sync::Sizes};

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/firewall-ebpf"));
pub(super) static PACKET_LOG_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/firewall-ebpf-packet-log"));

/// Sizes for new maps; maps pinned already have their own.
#[derive(Debug, Clone, Copy)]
pub struct MapSizes {
    /// Databases on this host.
    pub databases: u32,
    /// Rule counters of all databases together: customer rules, internal ranges, one default counter each, and single
    /// prefixes of managed ranges. Each takes 24 bytes on every CPU, and its record about 450 while in use.
    pub counters: u32,
}

/// One rule counter in this many is for a single prefix of a managed range. A prefix without a free one counts on its
/// rule's counter.
const PREFIX_SHARE: u32 = 5;
/// Rule counters that a [`firewall_common::Reason::answer`] can name.
const MOST_COUNTERS: u32 = 1 << 24;

impl MapSizes {
    /// Sizes for this number of databases with the default number of rule counters.
    #[must_use]
    pub fn for_databases(databases: u32) -> Self {
        Self::new(databases, MAX_RULE_COUNTERS)
    }

    /// Sizes for this number of databases and rule counters. Each database has at least its default counter and one for a
    /// rule.
    #[must_use]
    pub fn new(databases: u32, rule_counters: u32) -> Self {
        let least = databases.saturating_mul(2);
        // Number 0 is never used.
        Self { databases, counters: rule_counters.max(least).saturating_add(1).min(MOST_COUNTERS) }
    }

    /// The tables of a kernel that has none yet.
    #[must_use]
    pub fn tables(self) -> Sizes {
        Sizes {
            databases: self.databases,
            counters: self.counters,
            prefix_counters: self.counters / PREFIX_SHARE,
        }
    }

    /// `None` when the program declares the number.
    fn entries(self, map: &SharedMap) -> Option<u32> {
        match map.entries {
            Entries::Declared => None,
            Entries::Databases => Some(self.databases),
            Entries::Counters => Some(self.counters),
        }
    }
}

/// Build of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Build {
    Normal,
    /// With messages about single packets.
    PacketLog,
}

impl Build {
    fn object(self) -> &'static [u8] {
        match self {
            Self::Normal => OBJECT,
            Self::PacketLog => PACKET_LOG_OBJECT,
        }
    }

    /// The target program of the tail call for refused packets, and its index.
    fn recorder(self) -> (&'static str, u32) {
        match self {
            Self::Normal => (names::RECORDER, names::RECORDER_INDEX),
            Self::PacketLog => (names::PACKET_LOGGER, names::PACKET_LOGGER_INDEX),
        }
    }

    /// Programs to pin.
    fn pinned(self) -> &'static [&'static str] {
        match self {
            Self::Normal => &[names::FIREWALL, names::PROBE, names::SOCKET_PROBE],
            Self::PacketLog => &[names::FIREWALL],
        }
    }
}

/// The programs of one build, loaded and verified.
#[derive(Debug)]
pub struct Programs {
    object: Ebpf,
    build: Build,
    /// The kernel has accepted the socket filter.
    filters_sockets: bool,
}

impl Programs {
    /// Loads the programs; creates the maps that are not pinned yet, and adopts the others.
    ///
    /// # Errors
    /// When the kernel lacks a feature, a pinned map has another shape, or the kernel refuses a call.
    pub fn load(pins: &Pins, capacity: MapSizes) -> Result<Self> {
        Self::load_with(pins, capacity, features::accelerations()?)
    }

    /// The same, with the socket filter prepared for these [`firewall_common::socket_filter`].
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_for_sockets(pins: &Pins, capacity: MapSizes, bits: u32) -> Result<Self> {
        Self::load_build(Build::Normal, pins, capacity, features::accelerations()?, bits)
    }

    /// The same with only some of [`firewall_common::fast_path`] on: they save time and change no verdict, which tests
    /// and benchmarks show by turning them off.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(pins: &Pins, capacity: MapSizes, accelerations: u32) -> Result<Self> {
        Self::load_build(Build::Normal, pins, capacity, accelerations, 0)
    }

    /// Loads the packet log build, over the maps of the normal one.
    pub(super) fn load_packet_log(pins: &Pins) -> Result<Self> {
        Self::load_build(Build::PacketLog, pins, MapSizes::for_databases(1), features::accelerations()?, 0)
    }

    fn load_build(
        build: Build,
        pins: &Pins,
        capacity: MapSizes,
        accelerations: u32,
        sockets: u32,
    ) -> Result<Self> {
        features::ensure_there()?;
        layouts::unpin_incomplete(pins)?;
        layouts::migrate_counters(pins)?;
        let mut loader = EbpfLoader::new();
        loader.override_global(names::ACCELERATIONS, &accelerations, true);
        loader.override_global(names::SOCKET_FILTER_BITS, &sockets, true);
        for map in CONTRACT {
            let (name, path) = (map.name, pins.map(map.name));
            let pinned = path.try_exists().with_context(|| format!("cannot stat {}", path.display()))?;
            if pinned {
                loader.map_max_entries(name, layouts::open_map(pins, name)?.info()?.max_entries());
            } else if let Some(entries) = capacity.entries(&map) {
                loader.map_max_entries(name, entries);
            }
            loader.map_pin_path(name, path);
        }
        let mut object = loader.load(build.object()).context("cannot load the XDP object")?;
        let (recorder, _) = build.recorder();
        for name in [recorder].iter().chain(build.pinned()) {
            program(&mut object, name)?
                .load()
                .with_context(|| format!("program {name}: refused by the kernel"))?;
        }
        let mut programs = Self { object, build, filters_sockets: false };
        let mut recorders = Recorders::new(&layouts::open_map(pins, names::RECORDERS)?)?;
        let (index, _, recorder) = programs.recorder()?;
        recorders.set(index, recorder)?;
        if build == Build::Normal {
            // Left by an agent that ended with the packet log on.
            recorders.clear(names::PACKET_LOGGER_INDEX)?;
        }
        Ok(programs)
    }

    /// The recorder of this build: its index, its kernel id, and itself.
    ///
    /// # Errors
    /// When the kernel returns no id.
    pub(super) fn recorder(&mut self) -> Result<(u32, u32, &ProgramFd)> {
        let (name, index) = self.build.recorder();
        let program = program(&mut self.object, name)?;
        let id = program.info().with_context(|| format!("cannot query program {name}"))?.id();
        Ok((index, id, program.fd()?))
    }

    /// Removes the recorder of this build from the tail-call map. The next drift check retries after a failure.
    pub(super) fn remove_recorder(&self, pins: &Pins) {
        let (_, index) = self.build.recorder();
        let removed =
            layouts::open_map(pins, names::RECORDERS).and_then(|map| Recorders::new(&map)?.clear(index));
        if let Err(error) = removed {
            warn!(error = format!("{error:#}"), "recorder of the packet log not removed");
        }
    }

    /// The object, for access to its private maps.
    pub(super) fn object(&mut self) -> &mut Ebpf {
        &mut self.object
    }

    /// The program to attach.
    ///
    /// # Errors
    /// When the object contains no such program.
    pub fn firewall(&mut self) -> Result<&mut Xdp> {
        program(&mut self.object, names::FIREWALL)
    }

    /// The kernel's digest of the instructions of the program to attach, 16 hex digits.
    ///
    /// # Errors
    /// When the kernel returns none.
    pub fn tag(&mut self) -> Result<String> {
        let info = self.firewall()?.info().context("cannot query program firewall")?;
        Ok(format!("{:016x}", info.tag()))
    }

    /// Loads the socket filter, and pins it. The programs for interfaces work without it.
    ///
    /// # Errors
    /// When the kernel or bpffs refuses.
    pub fn load_socket_filter(&mut self, pins: &Pins) -> Result<()> {
        if !self.filters_sockets {
            let program = cgroup_program(&mut self.object, names::SOCKET_FILTER)?;
            program
                .load()
                .with_context(|| format!("program {}: refused by the kernel", names::SOCKET_FILTER))?;
            self.filters_sockets = true;
        }
        self.restore_socket_filter_pin(pins).map(drop)
    }

    /// The program to attach to a control group; `None` when it is not loaded.
    ///
    /// # Errors
    /// When the object contains no such program.
    pub fn socket_filter(&mut self) -> Result<Option<&mut CgroupSkb>> {
        if !self.filters_sockets {
            return Ok(None);
        }
        cgroup_program(&mut self.object, names::SOCKET_FILTER).map(Some)
    }

    /// Restores the pin of the socket filter, if it is loaded; returns the number of restored pins.
    fn restore_socket_filter_pin(&mut self, pins: &Pins) -> Result<u64> {
        let Some(program) = self.socket_filter()? else { return Ok(0) };
        let path = pins.program(names::SOCKET_FILTER);
        if pinned(&path)? == Some(program.info()?.id()) {
            return Ok(0);
        }
        let next = pins.program(&format!("{}-next", names::SOCKET_FILTER));
        unpin(&next)?;
        program.pin(&next).with_context(|| format!("cannot pin {}", next.display()))?;
        rename(&next, &path)?;
        Ok(1)
    }

    /// Restores pins that are missing or name another program; returns their number. The programs of the build `except`
    /// replace some of these.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn restore_pins(&mut self, pins: &Pins, except: Option<&Self>) -> Result<u64> {
        let mut again = 0;
        let excluded = except.map(|except| except.build.pinned()).unwrap_or_default();
        for name in self.build.pinned().iter().filter(|name| !excluded.contains(name)) {
            let ours = program(&mut self.object, name)?.info()?.id();
            let path = pins.program(name);
            if pinned(&path)? == Some(ours) {
                continue;
            }
            self.pin_one(pins, name)?;
            again += 1;
        }
        Ok(again + self.restore_socket_filter_pin(pins)?)
    }

    /// Kernel id of the program to attach.
    ///
    /// # Errors
    /// When the kernel returns none.
    pub fn id(&mut self) -> Result<u32> {
        Ok(self.firewall()?.info().context("cannot query program firewall")?.id())
    }

    /// Pins the programs of this build, replacing the pins of an earlier run.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn pin(&mut self, pins: &Pins) -> Result<()> {
        self.build.pinned().iter().try_for_each(|name| self.pin_one(pins, name))
    }

    /// Loads and pins the baseline programs of the benchmark, and the socket filter.
    ///
    /// # Errors
    /// When the kernel or bpffs refuses.
    pub fn pin_measured(&mut self, pins: &Pins) -> Result<()> {
        for name in names::MEASURED {
            program(&mut self.object, name)?
                .load()
                .with_context(|| format!("program {name}: refused by the kernel"))?;
            self.pin_one(pins, name)?;
        }
        let name = names::MEASURED_AT_SOCKETS;
        let program = cgroup_program(&mut self.object, name)?;
        program.load().with_context(|| format!("program {name}: refused by the kernel"))?;
        program.pin(pins.program(name)).with_context(|| format!("cannot pin {name}"))?;
        self.load_socket_filter(pins)
    }

    /// Updates every attached link to these programs, and pins them.
    ///
    /// # Errors
    /// When the kernel refuses; links updated before stay updated.
    pub fn swap_in(&mut self, pins: &Pins) -> Result<()> {
        swap(self, pins)?;
        self.pin(pins)
    }

    fn pin_one(&mut self, pins: &Pins, name: &str) -> Result<()> {
        let path = pins.program(name);
        let next = pins.program(&format!("{name}-next"));
        unpin(&next)?;
        program(&mut self.object, name)?
            .pin(&next)
            .with_context(|| format!("cannot pin {}", next.display()))?;
        rename(&next, &path)
    }
}

/// The tail-call map: the programs that record refused packets for `firewall`, at the indexes in
/// [`firewall_common::names`]. Such a program ends the run with an action of its own, so a foreign one could change
/// verdicts.
pub(super) struct Recorders {
    ids: Array<MapData, u32>,
    programs: ProgramArray<MapData>,
}

impl std::fmt::Debug for Recorders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorders").finish_non_exhaustive()
    }
}

impl Recorders {
    /// Uses an open map.
    pub fn new(map: &MapData) -> Result<Self> {
        // Opened as a plain array, an entry reads as the program's id; opening a program by its id would take
        // CAP_SYS_ADMIN.
        let ids = Array::try_from(Map::Array(share(map)?))?;
        let programs = ProgramArray::try_from(Map::ProgramArray(share(map)?))?;
        Ok(Self { ids, programs })
    }

    /// Kernel id of the program at an index; `None` when the entry is empty.
    pub fn id(&self, index: u32) -> Result<Option<u32>> {
        match self.ids.get(&index, 0) {
            Ok(id) => Ok(Some(id)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read recorder {index}")),
        }
    }

    /// Sets the program at an index.
    pub fn set(&mut self, index: u32, program: &ProgramFd) -> Result<()> {
        self.programs.set(index, program, 0).with_context(|| format!("cannot write recorder {index}"))
    }

    /// Clears the entry at an index: its packets keep their verdict, and are not recorded.
    pub fn clear(&mut self, index: u32) -> Result<()> {
        absent_is_fine(self.programs.clear_index(&index))
            .with_context(|| format!("cannot remove recorder {index}"))
    }
}

/// Kernel id of the program pinned at `path`; `None` when there is none, or it is foreign.
pub(super) fn pinned(path: &Path) -> Result<Option<u32>> {
    let cannot_stat = || format!("cannot stat {}", path.display());
    if !path.try_exists().with_context(cannot_stat)? {
        return Ok(None);
    }
    // The attach type matters to an attach only: this describes a program of any type.
    let open = || anyhow::Ok(Xdp::from_pin(path, XdpAttachType::Interface)?.info()?.id());
    match open() {
        Err(error) if is_foreign(&error) => Ok(None),
        id => id.map(Some).with_context(cannot_stat),
    }
}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    object
        .program_mut(name)
        .with_context(|| format!("the XDP object has no program {name}"))?
        .try_into()
        .with_context(|| format!("program {name}: not an XDP program"))
}

fn cgroup_program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut CgroupSkb> {
    object
        .program_mut(name)
        .with_context(|| format!("the BPF object has no program {name}"))?
        .try_into()
        .with_context(|| format!("program {name}: not for control groups"))
}

#[cfg(test)]
mod tests {
    use object::read::elf::ElfFile64;
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};

    use super::{MapSizes, OBJECT, PACKET_LOG_OBJECT};

    /// The functions that the code of an object calls.
    fn called(object: &[u8]) -> Vec<String> {
        let file = ElfFile64::<object::Endianness>::parse(object).unwrap();
        let code = file.sections().filter(|section| section.kind() == object::SectionKind::Text);
        let targets = code.flat_map(|section| section.relocations().collect::<Vec<_>>());
        let symbols = targets.filter_map(|(_, relocation)| {
            let RelocationTarget::Symbol(index) = relocation.target() else { return None };
            file.symbol_by_index(index).ok()
        });
        let functions = symbols.filter(|symbol| symbol.kind() == object::SymbolKind::Text);
        functions.map(|symbol| symbol.name().unwrap().to_owned()).collect()
    }

    #[test]
    fn no_program_copies_byte_by_byte() {
        for object in [OBJECT, PACKET_LOG_OBJECT] {
            let called = called(object);
            assert!(called.iter().any(|name| name == "find_block"), "no call is read: {called:?}");
            for name in ["memcpy", "memmove", "memset", "memcmp", "bcmp"] {
                assert!(
                    !called.iter().any(|other| other == name),
                    "{name}: a loop over bytes, on every packet"
                );
            }
        }
    }

    /// One more would be counted as "no rule".
    #[test]
    fn an_answer_can_name_every_rule_counter() {
        let highest = |rule_counters| MapSizes::new(256, rule_counters).counters - 1;
        assert_eq!(highest(1 << 24), 0x00ff_ffff);
        // Control: numbers below the limit stay, and each database has two counters.
        assert_eq!([highest(4_096), highest(1)], [4_096, 512]);
    }
}
