//! Attaching: one pinned `bpf_link` for each interface, which outlives the agent.

use std::{fs, os::fd::AsFd as _, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::{
    ProgramError, Xdp, XdpMode as AttachMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};
use nix::net::if_::if_indextoname;
use tracing::warn;

use super::{
    interface::{Attached, xdp_state},
    object::Programs,
    pins::{Pins, entries, unpin},
    syscall::{self, LinkInfo},
};
use crate::config::XdpMode;

/// An interface with our link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceLink {
    pub interface: String,
    /// Kernel id of the link.
    pub link: u32,
    /// Kernel id of the program that runs.
    pub program: u32,
    /// `None` when the interface is gone.
    pub mode: Option<Attached>,
}

/// Makes the loaded program the one that runs on an interface: through the pinned link when there is one (no packet
/// passes unseen), else by a new link.
///
/// # Errors
/// When there is no such interface, it carries no Ethernet, another XDP program is attached, or the driver refuses.
pub fn attach(programs: &mut Programs, pins: &Pins, interface: &str, mode: XdpMode) -> Result<InterfaceLink> {
    follow_names(pins)?;
    let state = xdp_state(interface)?.with_context(|| format!("interface {interface}: not there"))?;
    ensure!(
        state.ethernet,
        "interface {interface}: its packets have no Ethernet header, which the program needs: it cannot be filtered"
    );
    let pin = pins.link(&pin_name(interface));
    match pinned(&pin)? {
        Some(info) if info.interface == state.index => take_over(programs.firewall()?, &pin, interface)?,
        Some(info) => bail!(
            "{}: the link is attached to interface index {}, but {interface} is index {}",
            pin.display(),
            info.interface,
            state.index
        ),
        None => {
            if let Some((_, foreign)) = state.program {
                bail!(
                    "interface {interface}: another XDP program (id {foreign}) is attached and is left alone"
                );
            }
            make(programs.firewall()?, &pin, interface, mode)?;
        }
    }
    let info = pinned(&pin)?.with_context(|| format!("{}: is gone again", pin.display()))?;
    let link = describe(interface, info)?;
    // Interface indexes are each network namespace's own.
    ensure!(
        link.mode.is_some(),
        "interface {interface}: its link {} runs elsewhere, in another network namespace",
        info.id
    );
    Ok(link)
}

/// Every interface that has our link pinned, in the order of their names.
///
/// # Errors
/// When a pin or an interface cannot be looked at.
pub fn links(pins: &Pins) -> Result<Vec<InterfaceLink>> {
    let mut links = Vec::new();
    for path in entries(&pins.links())? {
        if let Some(info) = pinned(&path)? {
            links.push(describe(&interface_name(&path), info)?);
        }
    }
    Ok(links)
}

/// Gives the pins of renamed interfaces their new names, and removes those of interfaces that are gone.
fn follow_names(pins: &Pins) -> Result<()> {
    let mut moved = Vec::new();
    for path in entries(&pins.links())? {
        let Some(info) = pinned(&path)? else { continue };
        if info.interface == 0 {
            unpin(&path)?;
            continue;
        }
        let Ok(name) = if_indextoname(info.interface) else { continue };
        let now = pins.link(&pin_name(&name.to_string_lossy()));
        if now != path {
            // Two interfaces may have changed names: nothing may take a pin's place before that has left it.
            let aside = pins.link(&format!("renamed:{}", info.interface));
            rename(&path, &aside)?;
            moved.push((aside, now));
        }
    }
    for (aside, now) in moved {
        rename(&aside, &now)?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("{}: cannot be renamed to {}", from.display(), to.display()))
}

/// `mode` is `None` unless the interface of this name, in this network namespace, runs the link's program.
fn describe(interface: &str, info: LinkInfo) -> Result<InterfaceLink> {
    let running =
        xdp_state(interface)?.filter(|state| state.index == info.interface).and_then(|state| state.program);
    let mode = running.filter(|(_, program)| *program == info.program).map(|(mode, _)| mode);
    Ok(InterfaceLink { interface: interface.to_owned(), link: info.id, program: info.program, mode })
}

/// bpffs refuses dots in names, and interface names cannot have colons.
fn pin_name(interface: &str) -> String {
    interface.replace('.', ":")
}

fn interface_name(pin: &Path) -> String {
    pin.file_name().map(|name| name.to_string_lossy().replace(':', ".")).unwrap_or_default()
}

fn pinned(pin: &Path) -> Result<Option<LinkInfo>> {
    let there = pin.try_exists().with_context(|| format!("{}: cannot be looked at", pin.display()))?;
    if !there {
        return Ok(None);
    }
    let look = || syscall::link_info(syscall::open_pin(pin)?.as_fd());
    look().map(Some).with_context(|| format!("{}: cannot be looked at", pin.display()))
}

/// Lets every attached link run another loaded program; no packet passes unseen, and a link that cannot be given it
/// keeps what it has.
///
/// # Errors
/// When a link refuses; the others are given it all the same.
pub(super) fn swap(programs: &mut Programs, pins: &Pins) -> Result<()> {
    let mut swapped = Ok(());
    for path in entries(&pins.links())? {
        if pinned(&path)?.is_some_and(|info| info.interface != 0) {
            let done = take_over(programs.firewall()?, &path, &interface_name(&path));
            swapped = swapped.and(done);
        }
    }
    swapped
}

fn take_over(program: &mut Xdp, pin: &Path, interface: &str) -> Result<()> {
    let link = PinnedLink::from_pin(pin).with_context(|| format!("{}: cannot be opened", pin.display()))?;
    let link: XdpLink =
        FdLink::from(link).try_into().with_context(|| format!("{}: not an XDP link", pin.display()))?;
    program
        .attach_to_link(link)
        .with_context(|| format!("interface {interface}: its link cannot be given the new program"))?;
    Ok(())
}

fn make(program: &mut Xdp, pin: &Path, interface: &str, mode: XdpMode) -> Result<()> {
    let first = if mode == XdpMode::Generic { AttachMode::Skb } else { AttachMode::Driver };
    let attached = match program.attach(interface, first) {
        Err(error) if mode == XdpMode::Auto && no_native(&error) => {
            warn!(interface, "the driver has no native XDP: attaching in generic mode");
            program.attach(interface, AttachMode::Skb)
        }
        other => other,
    };
    let id = attached.map_err(|error| {
        let hint = if no_native(&error) {
            ": the driver has no native XDP; `xdp_mode: auto` or `generic` would attach in the stack"
        } else {
            ""
        };
        anyhow::Error::from(error)
            .context(format!("interface {interface}: cannot be attached in mode {mode}{hint}"))
    })?;
    let link: FdLink = program
        .take_link(id)?
        .try_into()
        // aya falls back to a netlink attach, which would end with this process; dropping it detaches.
        .map_err(|_| anyhow::anyhow!("interface {interface}: the kernel made no bpf_link"))?;
    link.pin(pin).with_context(|| format!("{}: cannot be pinned", pin.display()))?;
    Ok(())
}

fn no_native(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::EOPNOTSUPP))
}
