//! The compiled programs: load them over the pinned maps.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, ProgramArray},
    programs::Xdp,
};
use aya_obj::programs::XdpAttachType;
use firewall_common::names;

use super::{
    layouts,
    pins::{Pins, rename, unpin},
    shape,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/firewall-ebpf"));

/// Sizes of the maps, used when they are made; maps that are pinned already keep theirs.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Databases on this host.
    pub databases: u32,
    /// Rule lines of all databases together: customer rules, internal ranges, and one default line each.
    pub lines: u32,
}

impl Capacity {
    /// Room for 64 lines a database: 30 rules, the default, and internal ranges.
    #[must_use]
    pub fn for_databases(databases: u32) -> Self {
        Self { databases, lines: databases.saturating_mul(64).saturating_add(1) }
    }

    fn entries(self, name: &str) -> Option<u32> {
        match name {
            names::SOURCES_V4 | names::SOURCES_V6 | names::DATABASES => Some(self.databases),
            names::RULE_HITS | names::RULES => Some(self.lines),
            _ => None,
        }
    }
}

/// The programs, loaded and verified.
#[derive(Debug)]
pub struct Programs {
    object: Ebpf,
}

impl Programs {
    /// Loads the programs; makes the maps that are not pinned yet, and adopts those that are.
    ///
    /// # Errors
    /// When a pinned map has another shape, or the kernel refuses something.
    pub fn load(pins: &Pins, capacity: Capacity) -> Result<Self> {
        layouts::carry_over(pins)?;
        let mut loader = EbpfLoader::new();
        for name in names::MAPS {
            let path = pins.map(name);
            let pinned =
                path.try_exists().with_context(|| format!("{}: cannot be looked at", path.display()))?;
            if pinned {
                loader.map_max_entries(name, shape::open(pins, name)?.info()?.max_entries());
            } else if let Some(entries) = capacity.entries(name) {
                loader.map_max_entries(name, entries);
            }
            loader.map_pin_path(name, path);
        }
        let mut object = loader.load(OBJECT).context("the XDP object cannot be loaded")?;
        for name in [names::RECORDER, names::FIREWALL, names::TWIN] {
            program(&mut object, name)?
                .load()
                .with_context(|| format!("program {name}: refused by the kernel"))?;
        }
        let mut recorders = ProgramArray::try_from(Map::ProgramArray(shape::open(pins, names::RECORDERS)?))?;
        let recorder = program(&mut object, names::RECORDER)?.fd()?;
        recorders.set(0, recorder, 0).context("refused packets cannot be written down")?;
        Ok(Self { object })
    }

    /// The program to attach.
    ///
    /// # Errors
    /// When the object holds no such program.
    pub fn firewall(&mut self) -> Result<&mut Xdp> {
        program(&mut self.object, names::FIREWALL)
    }

    /// The kernel's digest of the instructions of the program to attach, 16 hex digits.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn tag(&mut self) -> Result<String> {
        let info = self.firewall()?.info().context("program firewall: cannot be looked at")?;
        Ok(format!("{:016x}", info.tag().swap_bytes()))
    }

    /// Pins a program again if its pin is gone or names another; how many there were.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub(super) fn pin_again(&mut self, pins: &Pins) -> Result<u64> {
        let mut again = 0;
        for name in [names::FIREWALL, names::TWIN] {
            let ours = program(&mut self.object, name)?.info()?.id();
            let path = pins.program(name);
            let looked = || format!("{}: cannot be looked at", path.display());
            if path.try_exists().with_context(looked)?
                && let pinned = Xdp::from_pin(&path, XdpAttachType::Interface).with_context(looked)?
                && pinned.info()?.id() == ours
            {
                continue;
            }
            self.pin_one(pins, name)?;
            again += 1;
        }
        Ok(again)
    }

    /// Kernel id of the program to attach.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn id(&mut self) -> Result<u32> {
        Ok(self.firewall()?.info().context("program firewall: cannot be looked at")?.id())
    }

    /// Pins both programs, in the place of those of an earlier run.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn pin(&mut self, pins: &Pins) -> Result<()> {
        [names::FIREWALL, names::TWIN].into_iter().try_for_each(|name| self.pin_one(pins, name))
    }

    fn pin_one(&mut self, pins: &Pins, name: &str) -> Result<()> {
        let path = pins.program(name);
        let next = pins.program(&format!("{name}-next"));
        unpin(&next)?;
        program(&mut self.object, name)?
            .pin(&next)
            .with_context(|| format!("{}: cannot be pinned", next.display()))?;
        rename(&next, &path)
    }
}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    object
        .program_mut(name)
        .with_context(|| format!("the XDP object has no program {name}"))?
        .try_into()
        .with_context(|| format!("program {name}: not an XDP program"))
}
