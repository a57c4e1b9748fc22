//! The compiled programs: load them over the pinned maps.

use anyhow::{Context as _, Result};
use aya::{Ebpf, EbpfLoader, programs::Xdp};
use firewall_common::{names, stages};

use super::{
    pins::{Pins, unpin},
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
            names::SOURCES_V4
            | names::SOURCES_V6
            | names::DATABASES
            | names::NEAR_SOURCES_V4
            | names::NEAR_SOURCES_V6 => Some(self.databases),
            names::RULE_HITS | names::RULES => Some(self.lines),
            _ => None,
        }
    }
}

/// Both programs, loaded and verified.
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
        Self::load_with(pins, capacity, stages::ALL)
    }

    /// The same with only some of [`stages`] in front of the tries: they save time and change no verdict, which tests
    /// and measurements show by leaving them out.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(pins: &Pins, capacity: Capacity, stages: u32) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        loader.override_global(names::STAGES, &stages, true);
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
        let mut programs = Self { object: loader.load(OBJECT).context("the XDP object cannot be loaded")? };
        programs.verify(&[names::FIREWALL, names::TWIN])?;
        Ok(programs)
    }

    fn verify(&mut self, names: &[&str]) -> Result<()> {
        for name in names {
            program(&mut self.object, name)?
                .load()
                .with_context(|| format!("program {name}: refused by the kernel"))?;
        }
        Ok(())
    }

    /// The program to attach.
    ///
    /// # Errors
    /// When the object holds no such program.
    pub fn firewall(&mut self) -> Result<&mut Xdp> {
        program(&mut self.object, names::FIREWALL)
    }

    /// Pins both programs, in the place of those of an earlier run.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn pin(&mut self, pins: &Pins) -> Result<()> {
        self.pin_all(&[names::FIREWALL, names::TWIN], pins)
    }

    /// Loads and pins what the program is measured by.
    ///
    /// # Errors
    /// When the kernel or bpffs refuses.
    pub fn pin_measured(&mut self, pins: &Pins) -> Result<()> {
        self.verify(&names::MEASURED)?;
        self.pin_all(&names::MEASURED, pins)
    }

    fn pin_all(&mut self, names: &[&str], pins: &Pins) -> Result<()> {
        for name in names {
            let path = pins.program(name);
            let next = pins.program(&format!("{name}-next"));
            unpin(&next)?;
            program(&mut self.object, name)?
                .pin(&next)
                .with_context(|| format!("{}: cannot be pinned", next.display()))?;
            std::fs::rename(&next, &path)
                .with_context(|| format!("{}: cannot be replaced", path.display()))?;
        }
        Ok(())
    }
}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    object
        .program_mut(name)
        .with_context(|| format!("the XDP object has no program {name}"))?
        .try_into()
        .with_context(|| format!("program {name}: not an XDP program"))
}
