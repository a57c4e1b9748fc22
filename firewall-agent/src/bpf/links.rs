//! Attaches the program: one pinned `bpf_link` for each interface, which outlives the agent.

mod open_links;

use std::{
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{
    ProgramError, Xdp, XdpMode as AttachMode,
    links::{FdLink, PinnedLink},
    xdp::{XdpError, XdpLink},
};
use firewall_common::names;
use tracing::{debug, warn};

pub use self::open_links::OpenLinks;
use super::{
    pins::{Pins, entries, unpin},
    programs::Programs,
    socket_link,
    syscall::{self, LinkInfo},
};
use crate::{
    config::XdpMode,
    host::{
        driver::driver,
        netlink::{Attached, InterfaceTable, attach_refusal, xdp_state},
    },
};

/// Prefix of the pin names of links on interfaces in other network namespaces. Interface names have no colon.
const ELSEWHERE: &str = ":elsewhere-";

/// The driver that stops running an attached program after a change of the MTU, on Linux 6.12 and 7.2 after a link that
/// went down as well; the kernel goes on to report the program. `cargo xtask kernels vmxnet3` requires it.
const UNRELIABLE: &str = "vmxnet3";

/// An interface with a link of this agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceLink {
    pub interface: String,
    /// Kernel id of the link.
    pub link: u32,
    /// Kernel id of the running program.
    pub program: u32,
    /// `None` when the interface is gone.
    pub mode: Option<Attached>,
    /// The interface's name when the link was pinned, if it had another one.
    pub renamed_from: Option<String>,
}

/// Action that put the loaded program on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// None: the program was running.
    Unchanged,
    /// The link ran another program and was updated.
    Updated,
    /// A new link was created.
    Made,
}

/// Attaches the loaded program to each of these interfaces, as [`OpenLinks::attach`] does. Returns one result for each.
///
/// # Errors
/// When the interfaces or the pinned links cannot be listed.
pub fn attach(
    programs: &mut Programs,
    pins: &Pins,
    names: &[impl AsRef<str>],
    mode: XdpMode,
) -> Result<Vec<Result<(InterfaceLink, Step)>>> {
    let interfaces = InterfaceTable::list()?;
    let mut links = OpenLinks::default();
    links.update_pins(pins, &interfaces)?;
    let ours = programs.id()?;
    let mut attach = |name: &str| {
        let state = interfaces.get(name).with_context(|| format!("interface {name}: not found"))?;
        links.attach((&mut *programs, ours), pins, (name, state), mode)
    };
    Ok(names.iter().map(|name| attach(name.as_ref())).collect())
}

/// Every interface with a pinned link of this agent, in the order of the names.
///
/// # Errors
/// When a pin or an interface cannot be queried.
pub fn links(pins: &Pins) -> Result<Vec<InterfaceLink>> {
    let mut links = OpenLinks::default();
    links.read(pins, &InterfaceTable::list()?)?;
    Ok(links.described())
}

/// Returns whether every pinned link runs its program of these; `false` when a link cannot be queried.
///
/// # Errors
/// When the pins cannot be listed.
pub fn all_run(pins: &Pins, programs: &mut Programs) -> Result<bool> {
    let program = programs.id()?;
    let runs = |info: LinkInfo| info.interface == 0 || info.program == program;
    let filter = programs.socket_filter()?.map(|filter| filter.info()).transpose()?;
    let paths = on_interfaces(pins)?;
    Ok(paths.iter().all(|path| pinned(path).is_ok_and(|info| info.is_none_or(runs)))
        && socket_link::runs(pins, filter.map(|filter| filter.id())))
}

/// Pins of links on interfaces.
fn on_interfaces(pins: &Pins) -> Result<Vec<PathBuf>> {
    let mut paths = entries(&pins.links())?;
    paths.retain(|path| !path.ends_with(names::SOCKET_LINK));
    Ok(paths)
}

/// Detaches every link, the socket filter's too, and removes its pin; returns the interfaces.
///
/// # Errors
/// When a link cannot be detached or unpinned; others may be detached already.
pub fn detach_all(pins: &Pins) -> Result<Vec<String>> {
    let (mut interfaces, mut failed) = (Vec::new(), None);
    for path in entries(&pins.links())? {
        let detach = || -> Result<()> {
            let cannot = || format!("cannot detach {}", path.display());
            syscall::detach(syscall::open_pin(&path).with_context(cannot)?.as_fd()).with_context(cannot)?;
            unpin(&path)
        };
        match detach() {
            Ok(()) => interfaces.push(interface_of(&path)),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) => Err(error.context(format!("detached only: {}", interfaces.join(", ")))),
        None => Ok(interfaces),
    }
}

fn pinned(pin: &Path) -> Result<Option<LinkInfo>> {
    let there = pin.try_exists().with_context(|| format!("cannot stat {}", pin.display()))?;
    if !there {
        return Ok(None);
    }
    let info = syscall::open_link(pin).map(|(_, info)| info);
    info.map(Some).with_context(|| format!("cannot query {}", pin.display()))
}

/// Updates every attached link to another loaded program. Every packet is filtered throughout, and a link that cannot
/// be updated stays on its program.
///
/// # Errors
/// When a link refuses; the others are updated nonetheless.
pub(super) fn swap(programs: &mut Programs, pins: &Pins) -> Result<()> {
    let mut swapped = Ok(());
    for path in on_interfaces(pins)? {
        if pinned(&path)?.is_some_and(|info| info.interface != 0) {
            let done = update_link(programs.firewall()?, &path, &interface_of(&path));
            swapped = swapped.and(done);
        }
    }
    swapped
}

/// The pin name of a link while its interface is in another network namespace.
fn elsewhere(link: u32) -> String {
    format!("{ELSEWHERE}{link}")
}

/// The pin name of an interface's link: bpffs refuses dots, and interface names cannot have colons.
fn pin_name(interface: &str) -> String {
    interface.replace('.', ":")
}

/// The interface of a pin name.
fn interface_name(pin: &str) -> String {
    pin.replace(':', ".")
}

/// The interface in a pin's name, or the socket filter.
fn interface_of(pin: &Path) -> String {
    if pin.ends_with(names::SOCKET_LINK) {
        return "socket filter".to_owned();
    }
    pin.file_name().map(|name| interface_name(&name.to_string_lossy())).unwrap_or_default()
}

fn update_link(program: &mut Xdp, pin: &Path, interface: &str) -> Result<()> {
    let link = PinnedLink::from_pin(pin).with_context(|| format!("cannot open {}", pin.display()))?;
    let link: XdpLink =
        FdLink::from(link).try_into().with_context(|| format!("{}: not an XDP link", pin.display()))?;
    let id = program
        .attach_to_link(link)
        .with_context(|| format!("interface {interface}: cannot update its link to the new program"))?;
    // The pin and [`OpenLinks`] own the link: another handle here would only prevent it from ending.
    drop(program.take_link(id)?);
    Ok(())
}

fn make(program: &mut Xdp, pin: &Path, interface: &str, mode: XdpMode) -> Result<()> {
    let mut first = if mode == XdpMode::Generic { AttachMode::Skb } else { AttachMode::Driver };
    if mode != XdpMode::Generic && is_unreliable(interface) {
        ensure!(
            mode == XdpMode::Auto,
            "interface {interface}: cannot attach in mode {mode}: the driver {UNRELIABLE} is not reliable there, it stops \
             running the program when the MTU changes; `xdp_mode: auto` or `generic` attaches in the network stack"
        );
        warn!(interface, driver = UNRELIABLE, "native mode not reliable, attaching in generic mode");
        first = AttachMode::Skb;
    }
    let attached = match program.attach(interface, first) {
        Err(error) if mode == XdpMode::Auto && is_of_the_driver(&error) => {
            let words = driver_words(program, interface, first);
            let error = anyhow::Error::from(error);
            warn!(
                interface,
                error = format!("{error:#}{words}"),
                "native mode refused, attaching in generic mode"
            );
            first = AttachMode::Skb;
            program.attach(interface, first)
        }
        other => other,
    };
    let id = attached.map_err(|error| {
        let words = driver_words(program, interface, first);
        let hint = if first == AttachMode::Driver && code(&error) == Some(libc::EOPNOTSUPP) {
            "; `xdp_mode: auto` or `generic` attaches in the network stack"
        } else {
            ""
        };
        anyhow::Error::from(error)
            .context(format!("interface {interface}: cannot attach in mode {mode}{words}{hint}"))
    })?;
    let link: FdLink = program
        .take_link(id)?
        .try_into()
        // aya falls back to a netlink attach, which would end with this process; dropping it detaches.
        .map_err(|_| anyhow::anyhow!("interface {interface}: the kernel created no bpf_link"))?;
    link.pin(pin).with_context(|| format!("cannot pin {}", pin.display()))?;
    Ok(())
}

/// Returns whether the driver of an interface may pass packets around the attached program. An unknown driver counts as
/// reliable.
fn is_unreliable(interface: &str) -> bool {
    driver(interface).is_ok_and(|driver| driver.as_deref() == Some(UNRELIABLE))
}

/// The reason in the words of the kernel or the driver, after a colon; empty where it gives a code only.
fn driver_words(program: &Xdp, interface: &str, mode: AttachMode) -> String {
    let words = || -> Result<Option<String>> {
        let state = xdp_state(interface)?.with_context(|| format!("interface {interface}: not found"))?;
        attach_refusal(state.index, program.fd()?.as_fd(), mode == AttachMode::Driver)
    };
    match words() {
        Ok(words) => words.map_or_else(String::new, |words| format!(": {words}")),
        Err(error) => {
            debug!(interface, error = format!("{error:#}"), "no reason for the refused attach");
            String::new()
        }
    }
}

/// Returns whether generic mode, which needs no driver support, may succeed after this error.
fn is_of_the_driver(error: &ProgramError) -> bool {
    let others = [libc::EBUSY, libc::EEXIST, libc::EPERM, libc::EACCES, libc::ENODEV];
    code(error).is_some_and(|code| !others.contains(&code))
}

/// The error code of a refused attach; aya repeats an attach by netlink after EINVAL.
fn code(error: &ProgramError) -> Option<i32> {
    if let ProgramError::SyscallError(error) = error {
        error.io_error.raw_os_error()
    } else if let ProgramError::XdpError(XdpError::NetlinkError(error)) = error {
        error.raw_os_error()
    } else {
        None
    }
}
