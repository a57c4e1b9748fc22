//! The directory of links: opens, restores, renames and removes pins.

use std::{
    collections::HashMap,
    fs, io,
    os::{
        fd::AsFd as _,
        unix::fs::{DirEntryExt as _, MetadataExt as _},
    },
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::Xdp;
use tracing::warn;

use super::{Held, HeldLinks, Pin};
use crate::{
    bpf::{
        inner::is_foreign,
        links::{
            make,
            names::{elsewhere, pin_name},
        },
        pins::{Pins, rename, unpin},
        syscall,
    },
    config::XdpMode,
};

impl HeldLinks {
    /// Creates a link and holds it open.
    pub(super) fn make(
        &mut self,
        program: &mut Xdp,
        pins: &Pins,
        interface: &str,
        mode: XdpMode,
    ) -> Result<()> {
        let name = pin_name(interface);
        let path = pins.link(&name);
        let cannot = || format!("cannot stat {}", path.display());
        ensure!(
            !path.try_exists().with_context(cannot)?,
            "{}: names something else than the link of interface {interface}",
            path.display()
        );
        make(program, &path, interface, mode)?;
        let inode = fs::metadata(&path).with_context(cannot)?.ino();
        self.open(pins, Pin { name, inode })
    }

    /// Lists the pins and opens the new ones.
    pub(super) fn find_pins(&mut self, pins: &Pins) -> Result<()> {
        let dir = pins.links();
        let known: HashMap<u64, u32> =
            self.links.iter().filter_map(|(id, held)| Some((held.pin.as_ref()?.inode, *id))).collect();
        let list = || -> io::Result<Vec<Pin>> {
            let pin = |entry: io::Result<fs::DirEntry>| {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                Ok(Pin { name, inode: entry.ino() })
            };
            fs::read_dir(&dir)?.map(pin).collect()
        };
        let listed = list().with_context(|| format!("cannot list {}", dir.display()))?;
        self.links.values_mut().for_each(|held| held.pin = None);
        self.foreign.retain(|inode| listed.iter().any(|pin| pin.inode == *inode));
        for pin in listed {
            match known.get(&pin.inode).and_then(|id| self.links.get_mut(id)) {
                Some(held) => held.pin = Some(pin),
                None if self.foreign.contains(&pin.inode) => {}
                None => self.open(pins, pin)?,
            }
        }
        Ok(())
    }

    /// Opens the link of a pin and holds it open. A foreign object is logged and ignored.
    pub(super) fn open(&mut self, pins: &Pins, pin: Pin) -> Result<()> {
        let path = pins.link(&pin.name);
        match syscall::open_link(&path) {
            Ok((link, info)) => {
                let held = self.links.entry(info.id);
                held.or_insert(Held { link, info, pin: None, on: None }).pin = Some(pin);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                let error = anyhow::Error::from(error).context(format!("cannot open {}", path.display()));
                if !is_foreign(&error) {
                    return Err(error);
                }
                warn!(pin = %path.display(), error = format!("{error:#}"), "not a link of this agent");
                self.foreign.insert(pin.inode);
                Ok(())
            }
        }
    }

    /// Closes links that are attached to nothing any more, and removes their pins.
    pub(super) fn drop_detached(&mut self, pins: &Pins) -> Result<()> {
        for held in self.links.values().filter(|held| held.info.interface == 0) {
            if let Some(pin) = &held.pin {
                unpin(&pins.link(&pin.name))?;
            }
        }
        self.links.retain(|_, held| held.info.interface != 0);
        Ok(())
    }

    /// Restores every missing pin; returns their number.
    pub(super) fn pin_again(&mut self, pins: &Pins) -> Result<u64> {
        let lost: Vec<u32> =
            self.links.iter().filter(|(_, held)| held.pin.is_none()).map(|(id, _)| *id).collect();
        for id in &lost {
            let Some(held) = self.links.get(id) else { continue };
            // Under a temporary name first: another pin may still have the final name.
            let path = pins.link(&elsewhere(*id));
            syscall::pin(held.link.as_fd(), &path)
                .with_context(|| format!("cannot pin link {id} again as {}", path.display()))?;
        }
        if !lost.is_empty() {
            self.find_pins(pins)?;
        }
        Ok(lost.len() as u64)
    }

    /// Renames every pin to its link's interface; pins of interfaces in other network namespaces get an `elsewhere`
    /// name.
    pub(super) fn name_pins(&mut self, pins: &Pins) -> Result<()> {
        let mut moved = Vec::new();
        for (id, held) in &mut self.links {
            let Some(pin) = &mut held.pin else { continue };
            let aside = elsewhere(*id);
            let due = held.on.as_ref().map_or_else(|| aside.clone(), |(interface, _)| pin_name(interface));
            if due == pin.name {
                continue;
            }
            // Two interfaces may have swapped names: every pin leaves its old name before another takes it.
            if pin.name != aside {
                rename(&pins.link(&pin.name), &pins.link(&aside))?;
                pin.name.clone_from(&aside);
            }
            if due != aside {
                moved.push((*id, due));
            }
        }
        for (id, due) in moved {
            let Some(pin) = self.links.get_mut(&id).and_then(|held| held.pin.as_mut()) else { continue };
            // No link of this agent has the name any more: an object there may be replaced.
            rename(&pins.link(&pin.name), &pins.link(&due))?;
            pin.name = due;
        }
        Ok(())
    }
}
