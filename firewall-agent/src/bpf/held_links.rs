//! Links held open: they outlive the removal of their pins, and are pinned again.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};

use super::{
    links::{InterfaceLink, describe, elsewhere, interface_name, pin_name_of, pinned_links},
    pins::Pins,
    syscall,
};

/// Every link that this process has seen pinned, by its id.
#[derive(Debug, Default)]
pub struct HeldLinks(BTreeMap<u32, OwnedFd>);

impl HeldLinks {
    /// Opens the links that are pinned now, and lets go of those that are attached to nothing any more.
    ///
    /// # Errors
    /// When a pin cannot be looked at.
    pub fn hold(&mut self, pins: &Pins) -> Result<()> {
        for (path, info) in pinned_links(pins)? {
            if let Entry::Vacant(place) = self.0.entry(info.id) {
                let link = syscall::open_pin(&path);
                place.insert(link.with_context(|| format!("{}: cannot be opened", path.display()))?);
            }
        }
        self.0.retain(|_, link| syscall::link_info(link.as_fd()).is_ok_and(|info| info.interface != 0));
        Ok(())
    }

    /// Pins every link again whose pin is gone; how many there were. A link that was detached stays without one.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn pin_again(&self, pins: &Pins) -> Result<u64> {
        let there: Vec<u32> = pinned_links(pins)?.iter().map(|(_, info)| info.id).collect();
        let mut again = 0;
        for (id, link) in self.0.iter().filter(|(id, _)| !there.contains(id)) {
            let info = syscall::link_info(link.as_fd())
                .with_context(|| format!("link {id}: cannot be looked at"))?;
            if info.interface == 0 {
                continue;
            }
            // Where another link stands, this one is of an interface elsewhere that has the same number.
            let named = pins.link(&pin_name_of(info)?);
            let path = if named.exists() { pins.link(&elsewhere(info)) } else { named };
            syscall::pin(link.as_fd(), &path)
                .with_context(|| format!("{}: cannot be pinned again", path.display()))?;
            again += 1;
        }
        Ok(again)
    }

    /// Every link that is attached, in the order of the interfaces' names.
    ///
    /// # Errors
    /// When a link or an interface cannot be looked at.
    pub fn links(&self) -> Result<Vec<InterfaceLink>> {
        let mut links = Vec::new();
        for link in self.0.values() {
            let info = syscall::link_info(link.as_fd()).context("link: cannot be looked at")?;
            if info.interface != 0 {
                links.push(describe(&interface_name(pin_name_of(info)?.as_ref()), info)?);
            }
        }
        links.sort_by(|one, other| one.interface.cmp(&other.interface));
        Ok(links)
    }

    /// Takes every link down, pinned or not, and lets go of it.
    ///
    /// # Errors
    /// When one cannot be taken down; the others are.
    pub fn detach(&mut self) -> Result<()> {
        let links = std::mem::take(&mut self.0);
        let detached: Vec<_> = links.values().map(|link| syscall::detach(link.as_fd())).collect();
        detached.into_iter().collect::<Result<(), _>>().context("link: cannot be detached")
    }
}
