//! Links held open: they survive the removal of their pins, and the agent restores the pins.
//!
//! One pass costs one listing of the pins and one query per link. A pin is opened once: after that its inode identifies
//! the link, since bpffs never changes the object of an inode.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{DirEntryExt as _, MetadataExt as _},
    },
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::Xdp;
use firewall_common::names;
use tracing::warn;

use super::{ELSEWHERE, InterfaceLink, Step, elsewhere, interface_name, make, pin_name, update_link};
use crate::{
    bpf::{
        map_of_maps::is_foreign,
        pins::{Pins, rename, unpin},
        programs::Programs,
        syscall::{self, LinkInfo},
    },
    config::XdpMode,
    host::netlink::{Attached, InterfaceTable, XdpState, xdp_state},
};

/// Every link that this process has seen pinned, by kernel id.
#[derive(Debug, Default)]
pub struct OpenLinks {
    links: BTreeMap<u32, OpenLink>,
    /// The link on each interface of this network namespace.
    by_interface: BTreeMap<String, u32>,
    /// Inodes of pins of foreign objects; each is reported once.
    foreign: BTreeSet<u64>,
}

/// One link, as of the last pass.
#[derive(Debug)]
struct OpenLink {
    fd: OwnedFd,
    info: LinkInfo,
    pin: Option<Pin>,
    /// Its interface and the mode there; `None` when the interface is gone or in another network namespace.
    on: Option<(String, Attached)>,
    /// The first name of its interface, once that has another one.
    renamed_from: Option<String>,
}

/// An entry in the directory of links.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pin {
    name: String,
    inode: u64,
}

impl OpenLinks {
    /// Records the pinned links and the programs on `interfaces`; changes nothing in the kernel.
    ///
    /// # Errors
    /// When the pins cannot be listed, or one cannot be opened.
    pub(super) fn read(&mut self, pins: &Pins, interfaces: &InterfaceTable) -> Result<()> {
        let found = self.find_pins(pins);
        self.refresh(interfaces)?;
        found
    }

    /// Makes pins match interfaces: restores missing pins, renames pins to their interfaces, and closes links without
    /// an interface. Returns the number of restored pins.
    ///
    /// # Errors
    /// When the pins cannot be listed or changed, or a link cannot be queried. Everything read before the error is
    /// recorded.
    pub fn update_pins(&mut self, pins: &Pins, interfaces: &InterfaceTable) -> Result<u64> {
        self.read(pins, interfaces)?;
        self.drop_detached(pins)?;
        let restored = self.restore_pins(pins)?;
        self.name_pins(pins)?;
        Ok(restored)
    }

    /// Makes an interface run the loaded program, with the id `ours`: by an update of the existing link (every packet
    /// is filtered throughout), else by a new link.
    ///
    /// # Errors
    /// When its frames have no Ethernet header, another XDP program is attached, or the driver refuses.
    pub fn attach(
        &mut self,
        (programs, ours): (&mut Programs, u32),
        pins: &Pins,
        (interface, state): (&str, XdpState),
        mode: XdpMode,
    ) -> Result<(InterfaceLink, Step)> {
        ensure!(
            state.ethernet,
            "interface {interface}: cannot be filtered: its packets have no Ethernet header, which the \
             program needs"
        );
        let step = match self.on(interface) {
            Some(link) if link.info.program == ours => return Ok((link.describe(), Step::Unchanged)),
            Some(link) => {
                link.update_program(programs.firewall()?, pins)?;
                Step::Updated
            }
            None => {
                if let Some((_, foreign)) = state.program {
                    anyhow::bail!(
                        "interface {interface}: another XDP program (id {foreign}) is attached; the agent \
                         does not replace it"
                    );
                }
                self.make(programs.firewall()?, pins, interface, mode)?;
                Step::Made
            }
        };
        self.refresh_interface(interface)?;
        let link = self
            .on(interface)
            .with_context(|| format!("interface {interface}: its link was detached again"))?;
        Ok((link.describe(), step))
    }

    /// Updates the links of interfaces in other network namespaces to the loaded program, with the id `ours`.
    ///
    /// # Errors
    /// When a link refuses it.
    pub fn update_elsewhere(&mut self, programs: &mut Programs, ours: u32, pins: &Pins) -> Result<()> {
        for link in self.links.values_mut().filter(|link| link.on.is_none()) {
            if link.info.interface != 0 && link.info.program != ours && link.pin.is_some() {
                link.update_program(programs.firewall()?, pins)?;
                link.info = syscall::link_info(link.fd.as_fd()).with_context(|| link.query_failed())?;
            }
        }
        Ok(())
    }

    /// Returns whether this interface has a link of this agent.
    #[must_use]
    pub fn has(&self, interface: &str) -> bool {
        self.by_interface.contains_key(interface)
    }

    /// Every link, in the order of the interfaces' names: with its current program, and its mode as of the last pass.
    /// Omits links detached since.
    #[must_use]
    pub fn links(&self) -> Vec<InterfaceLink> {
        let mut links: Vec<InterfaceLink> = self.links.values().filter_map(OpenLink::describe_now).collect();
        links.sort_by(|one, other| one.interface.cmp(&other.interface));
        links
    }

    /// Detaches every link, pinned or not, and closes it.
    ///
    /// # Errors
    /// When one cannot be detached; the others are.
    pub fn detach(&mut self) -> Result<()> {
        let Self { links, .. } = std::mem::take(self);
        let detached: Vec<_> = links.values().map(|link| syscall::detach(link.fd.as_fd())).collect();
        detached.into_iter().collect::<Result<(), _>>().context("cannot detach a link")
    }

    /// Every link of the last pass, detached ones included.
    pub(super) fn described(&self) -> Vec<InterfaceLink> {
        let mut links: Vec<InterfaceLink> = self.links.values().map(OpenLink::describe).collect();
        links.sort_by(|one, other| one.interface.cmp(&other.interface));
        links
    }

    fn on(&self, interface: &str) -> Option<&OpenLink> {
        self.links.get(self.by_interface.get(interface)?)
    }

    /// Queries every link and finds its interface.
    fn refresh(&mut self, interfaces: &InterfaceTable) -> Result<()> {
        for link in self.links.values_mut() {
            link.info = syscall::link_info(link.fd.as_fd()).with_context(|| link.query_failed())?;
            link.on = None;
            let Some(name) = interfaces.name(link.info.interface) else { continue };
            let mut mode = interfaces.get(name).and_then(|state| state.mode_of(link.info.program));
            if mode.is_none() {
                // The dump may predate a change of the link's program.
                mode = xdp_state(name)?.and_then(|state| link.mode_in(state));
            }
            link.on = mode.map(|mode| (name.to_owned(), mode));
        }
        self.join_interfaces();
        Ok(())
    }

    /// Maps interfaces to links. Interface indexes are local to a network namespace: of several links that match one
    /// interface, the pinned name decides, and the others are in other namespaces.
    fn join_interfaces(&mut self) {
        self.by_interface.clear();
        for pinned_there in [true, false] {
            for (id, link) in &mut self.links {
                let Some((name, _)) = &link.on else { continue };
                let is_there = link.pin.as_ref().is_some_and(|pin| pin.name == pin_name(name));
                if is_there != pinned_there {
                    continue;
                }
                if self.by_interface.contains_key(name) {
                    link.on = None;
                } else {
                    self.by_interface.insert(name.clone(), *id);
                }
            }
        }
    }

    /// Queries one interface again, and the link created or changed there.
    fn refresh_interface(&mut self, interface: &str) -> Result<()> {
        let state = xdp_state(interface)?.with_context(|| format!("interface {interface}: not found"))?;
        let pin = pin_name(interface);
        let pinned = |link: &&mut OpenLink| link.pin.as_ref().is_some_and(|own| own.name == pin);
        let Some(link) = self.links.values_mut().find(pinned) else { return Ok(()) };
        link.info = syscall::link_info(link.fd.as_fd()).with_context(|| link.query_failed())?;
        link.on = link.mode_in(state).map(|mode| (interface.to_owned(), mode));
        if link.on.is_some() {
            self.by_interface.insert(interface.to_owned(), link.info.id);
        }
        Ok(())
    }

    /// Creates a link and holds it open.
    fn make(&mut self, program: &mut Xdp, pins: &Pins, interface: &str, mode: XdpMode) -> Result<()> {
        let name = pin_name(interface);
        let path = pins.link(&name);
        let cannot = || format!("cannot stat {}", path.display());
        ensure!(
            !path.try_exists().with_context(cannot)?,
            "{}: not the link of interface {interface}",
            path.display()
        );
        make(program, &path, interface, mode)?;
        let inode = fs::metadata(&path).with_context(cannot)?.ino();
        self.open(pins, Pin { name, inode })
    }

    /// Lists the pins and opens the new ones.
    fn find_pins(&mut self, pins: &Pins) -> Result<()> {
        let dir = pins.links();
        let known: HashMap<u64, u32> =
            self.links.iter().filter_map(|(id, link)| Some((link.pin.as_ref()?.inode, *id))).collect();
        let list = || -> io::Result<Vec<Pin>> {
            let pin = |entry: io::Result<fs::DirEntry>| {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                Ok(Pin { name, inode: entry.ino() })
            };
            fs::read_dir(&dir)?.map(pin).collect()
        };
        let mut listed = list().with_context(|| format!("cannot list {}", dir.display()))?;
        listed.retain(|pin| pin.name != names::SOCKET_LINK);
        self.links.values_mut().for_each(|link| link.pin = None);
        self.foreign.retain(|inode| listed.iter().any(|pin| pin.inode == *inode));
        for pin in listed {
            match known.get(&pin.inode).and_then(|id| self.links.get_mut(id)) {
                Some(link) => link.pin = Some(pin),
                None if self.foreign.contains(&pin.inode) => {}
                None => self.open(pins, pin)?,
            }
        }
        Ok(())
    }

    /// Opens the link of a pin and holds it open. A foreign object is logged and ignored.
    fn open(&mut self, pins: &Pins, pin: Pin) -> Result<()> {
        let path = pins.link(&pin.name);
        match syscall::open_link(&path) {
            Ok((fd, info)) => {
                let entry = self.links.entry(info.id);
                entry.or_insert(OpenLink { fd, info, pin: None, on: None, renamed_from: None }).pin =
                    Some(pin);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                let error = anyhow::Error::from(error).context(format!("cannot open {}", path.display()));
                if !is_foreign(&error) {
                    return Err(error);
                }
                warn!(
                    pin = %path.display(),
                    error = format!("{error:#}"),
                    "pin skipped, not a link of this agent"
                );
                self.foreign.insert(pin.inode);
                Ok(())
            }
        }
    }

    /// Closes links that are attached to nothing any more, and removes their pins.
    fn drop_detached(&mut self, pins: &Pins) -> Result<()> {
        for link in self.links.values().filter(|link| link.info.interface == 0) {
            if let Some(pin) = &link.pin {
                unpin(&pins.link(&pin.name))?;
            }
        }
        self.links.retain(|_, link| link.info.interface != 0);
        Ok(())
    }

    /// Restores every missing pin; returns their number.
    fn restore_pins(&mut self, pins: &Pins) -> Result<u64> {
        let missing: Vec<u32> =
            self.links.iter().filter(|(_, link)| link.pin.is_none()).map(|(id, _)| *id).collect();
        for id in &missing {
            let Some(link) = self.links.get(id) else { continue };
            // Under a temporary name first: another pin may still have the final name.
            let path = pins.link(&elsewhere(*id));
            syscall::pin(link.fd.as_fd(), &path)
                .with_context(|| format!("cannot pin link {id} again as {}", path.display()))?;
        }
        if !missing.is_empty() {
            self.find_pins(pins)?;
        }
        Ok(missing.len() as u64)
    }

    /// Renames every pin to its link's interface; pins of interfaces in other network namespaces get an `elsewhere`
    /// name.
    fn name_pins(&mut self, pins: &Pins) -> Result<()> {
        let mut moved = Vec::new();
        for (id, link) in &mut self.links {
            let renamed_from = link.renamed_from();
            let Some(pin) = &mut link.pin else { continue };
            let aside = elsewhere(*id);
            let wanted = link.on.as_ref().map_or_else(|| aside.clone(), |(interface, _)| pin_name(interface));
            if wanted == pin.name {
                continue;
            }
            link.renamed_from = renamed_from;
            // Two interfaces may have swapped names: every pin leaves its old name before another takes it.
            if pin.name != aside {
                rename(&pins.link(&pin.name), &pins.link(&aside))?;
                pin.name.clone_from(&aside);
            }
            if wanted != aside {
                moved.push((*id, wanted));
            }
        }
        for (id, wanted) in moved {
            let Some(pin) = self.links.get_mut(&id).and_then(|link| link.pin.as_mut()) else { continue };
            // No link of this agent has the name any more: an object there may be replaced.
            rename(&pins.link(&pin.name), &pins.link(&wanted))?;
            pin.name = wanted;
        }
        Ok(())
    }
}

impl OpenLink {
    /// Updates the link to another program.
    fn update_program(&self, program: &mut Xdp, pins: &Pins) -> Result<()> {
        let pin = self.pin.as_ref().with_context(|| format!("link {}: not pinned", self.info.id))?;
        update_link(program, &pins.link(&pin.name), &self.interface())
    }

    /// The mode of the link's program on an interface; `None` when the link is not attached there.
    fn mode_in(&self, state: XdpState) -> Option<Attached> {
        (state.index == self.info.interface).then(|| state.mode_of(self.info.program)).flatten()
    }

    fn interface(&self) -> String {
        match (&self.on, &self.pin) {
            (Some((interface, _)), _) => interface.clone(),
            (None, Some(pin)) => interface_name(&pin.name),
            (None, None) => interface_name(&elsewhere(self.info.id)),
        }
    }

    /// The first name of an interface that has another one now. The pin has the name of the last pass.
    fn renamed_from(&self) -> Option<String> {
        let (interface, _) = self.on.as_ref()?;
        let pinned = self.pin.as_ref().filter(|pin| !pin.name.starts_with(ELSEWHERE));
        let first = self.renamed_from.clone().or(pinned.map(|pin| interface_name(&pin.name)));
        first.filter(|first| first != interface)
    }

    fn describe(&self) -> InterfaceLink {
        let mode = self.on.as_ref().map(|(_, mode)| *mode);
        InterfaceLink {
            interface: self.interface(),
            link: self.info.id,
            program: self.info.program,
            mode,
            renamed_from: self.renamed_from(),
        }
    }

    fn describe_now(&self) -> Option<InterfaceLink> {
        let info = syscall::link_info(self.fd.as_fd()).ok().filter(|info| info.interface != 0)?;
        Some(InterfaceLink { program: info.program, ..self.describe() })
    }

    fn query_failed(&self) -> String {
        format!("cannot query link {}", self.info.id)
    }
}
