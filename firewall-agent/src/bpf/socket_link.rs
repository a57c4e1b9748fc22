//! The link of the socket filter on a control group: pinned, and held open, so that it survives the agent and the removal
//! of its pin.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, links::FdLink};
use firewall_common::names;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use tracing::info;

use super::{
    Step,
    map_of_maps::is_foreign,
    pins::{Pins, unpin},
    programs::{Programs, pinned},
    syscall::{self, CgroupLinkInfo},
};

/// The attached socket filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketLink {
    /// Kernel id of the link.
    pub link: u32,
    /// Kernel id of the running program.
    pub program: u32,
    /// The kernel's digest of the loaded program, 16 hex digits; empty when another program runs.
    pub tag: String,
}

/// The link of the socket filter, held open.
#[derive(Debug, Default)]
pub struct OpenSocketLink {
    fd: Option<OwnedFd>,
}

impl OpenSocketLink {
    /// Makes the control group run the loaded socket filter: by an update of the existing link, else by a new link.
    /// Returns the number of restored pins, too.
    ///
    /// # Errors
    /// When the directory is no control group of version 2, the program is not loaded, or the kernel or bpffs refuses.
    pub fn attach(&mut self, programs: &mut Programs, pins: &Pins, cgroup: &Path) -> Result<(Step, u64)> {
        let group = open_group(cgroup)?;
        let inode = group.metadata().with_context(|| format!("cannot stat {}", cgroup.display()))?.ino();
        let name = names::SOCKET_FILTER;
        let program = programs.socket_filter()?.with_context(|| format!("program {name}: not loaded"))?;
        let pin = pins.link(names::SOCKET_LINK);
        let restored = self.open(&pin)?;
        if let Some(info) = self.info()? {
            if info.cgroup == inode {
                if info.program == program.info()?.id() {
                    return Ok((Step::Unchanged, restored));
                }
                let (Some(link), loaded) = (&self.fd, program.fd()?) else { return Ok((Step::Unchanged, 0)) };
                syscall::update_link(link.as_fd(), loaded.as_fd())
                    .with_context(|| format!("{}: cannot update its link", cgroup.display()))?;
                return Ok((Step::Updated, restored));
            }
            // Of another control group, or of one that is gone. The new link filters before this one ends.
            let old = self.fd.take();
            unpin(&pin)?;
            self.make(program, &pin, &group, cgroup)?;
            if let Some(old) = old {
                let _ = syscall::detach(old.as_fd());
            }
            return Ok((Step::Made, 0));
        }
        self.make(program, &pin, &group, cgroup)?;
        Ok((Step::Made, 0))
    }

    /// The attached socket filter; `None` when it is not attached.
    ///
    /// # Errors
    /// When link or program cannot be queried.
    pub fn describe(&self, programs: &mut Programs) -> Result<Option<SocketLink>> {
        let Some(info) = self.info()?.filter(|info| info.cgroup != 0) else { return Ok(None) };
        let loaded = programs.socket_filter()?.map(|program| program.info()).transpose()?;
        let loaded = loaded.filter(|loaded| loaded.id() == info.program);
        let tag = loaded.map(|loaded| format!("{:016x}", loaded.tag())).unwrap_or_default();
        Ok(Some(SocketLink { link: info.id, program: info.program, tag }))
    }

    /// Detaches the socket filter and removes its pin; returns whether it was attached.
    ///
    /// # Errors
    /// When the kernel or bpffs refuses.
    pub fn detach(&mut self, pins: &Pins) -> Result<bool> {
        let pin = pins.link(names::SOCKET_LINK);
        self.open(&pin)?;
        let Some(fd) = self.fd.take() else { return Ok(false) };
        let attached = syscall::cgroup_link_info(fd.as_fd()).is_ok_and(|info| info.cgroup != 0);
        syscall::detach(fd.as_fd()).context("cannot detach the socket filter")?;
        unpin(&pin)?;
        if attached {
            info!("socket filter detached");
        }
        Ok(attached)
    }

    /// Opens the pinned link, or restores the missing pin of the link held open; returns the number of restored pins. A
    /// foreign object at the pin is replaced.
    fn open(&mut self, pin: &Path) -> Result<u64> {
        let cannot = || format!("cannot open {}", pin.display());
        match syscall::open_cgroup_link(pin) {
            Ok((fd, info)) => {
                let opened = self.info()?;
                if opened.is_none_or(|opened| opened.id == info.id || opened.cgroup == 0) {
                    self.fd = Some(fd);
                    return Ok(0);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let error = anyhow::Error::from(error);
                if !is_foreign(&error) {
                    return Err(error.context(cannot()));
                }
            }
        }
        unpin(pin)?;
        let Some(fd) = &self.fd else { return Ok(0) };
        syscall::pin(fd.as_fd(), pin).with_context(|| format!("cannot pin {} again", pin.display()))?;
        Ok(1)
    }

    fn info(&self) -> Result<Option<CgroupLinkInfo>> {
        let info = self.fd.as_ref().map(|fd| syscall::cgroup_link_info(fd.as_fd())).transpose();
        info.context("cannot query the link of the socket filter")
    }

    fn make(&mut self, program: &mut CgroupSkb, pin: &Path, group: &File, cgroup: &Path) -> Result<()> {
        let ingress = CgroupSkbAttachType::Ingress;
        let id = program
            .attach(group, ingress, CgroupAttachMode::Single)
            .with_context(|| format!("{}: cannot attach the socket filter", cgroup.display()))?;
        let link: FdLink = program
            .take_link(id)?
            .try_into()
            .map_err(|_| anyhow::anyhow!("{}: the kernel created no bpf_link", cgroup.display()))?;
        // Dropping the handle leaves the link to its pin.
        drop(link.pin(pin).with_context(|| format!("cannot pin {}", pin.display()))?);
        let (fd, _) =
            syscall::open_cgroup_link(pin).with_context(|| format!("cannot open {}", pin.display()))?;
        self.fd = Some(fd);
        Ok(())
    }
}

/// Returns whether the pinned link of the socket filter, if any, runs this program; `false` when it cannot be queried.
pub(super) fn runs(pins: &Pins, program: Option<u32>) -> bool {
    running(pins).is_ok_and(|running| running.is_none() || running == program)
}

/// Returns whether a control group runs the pinned socket filter.
///
/// # Errors
/// When the pins cannot be read.
pub fn socket_filter_runs(pins: &Pins) -> Result<bool> {
    let program = pinned(&pins.program(names::SOCKET_FILTER))?;
    let running = running(pins)?;
    Ok(running.is_some() && running == program)
}

/// Id of the program that a control group runs through the pinned link; `None` without a link, or when the group is gone.
fn running(pins: &Pins) -> Result<Option<u32>> {
    let pin = pins.link(names::SOCKET_LINK);
    match syscall::open_cgroup_link(&pin) {
        Ok((_, info)) => Ok((info.cgroup != 0).then_some(info.program)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot open {}", pin.display())),
    }
}

/// Opens the directory of a control group of version 2.
fn open_group(cgroup: &Path) -> Result<File> {
    let kind = statfs(cgroup).with_context(|| format!("cannot stat {}", cgroup.display()))?.filesystem_type();
    ensure!(
        kind == CGROUP2_SUPER_MAGIC,
        "{}: no control group of version 2: `socket_filter_cgroup` needs its directory{}",
        cgroup.display(),
        unified(cgroup).map(|path| format!(", here {}", path.display())).unwrap_or_default()
    );
    File::open(cgroup).with_context(|| format!("cannot open {}", cgroup.display()))
}

/// The directory of version 2 on a host that mounts both versions.
fn unified(cgroup: &Path) -> Option<PathBuf> {
    let path = cgroup.join("unified");
    let kind = fs::metadata(&path).ok().and(statfs(&path).ok())?.filesystem_type();
    (kind == CGROUP2_SUPER_MAGIC).then_some(path)
}
