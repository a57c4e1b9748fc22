//! The confinement that systemd or a container runtime sets up between fork and exec: root directory, user, reduced
//! capabilities, seccomp filter.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use caps::errors::CapsError;
use caps::{CapSet, CapsHashSet};
use libc::{sock_filter, sock_fprog};
use nix::sys::prctl::{set_keepcaps, set_no_new_privs, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, chdir, chroot, setgroups, setresgid, setresuid};

use super::{Agent, Host};

/// Confinement of a process.
#[derive(Clone, Debug)]
pub struct Confinement {
    pub root: PathBuf,
    /// Uid and gid; no supplementary group.
    pub id: u32,
    /// Mask of the bounding set.
    pub capabilities: u64,
    /// `true`, as systemd: the capabilities are ambient, the file has none, and `no_new_privs` is set. `false`,
    /// as a container runtime: the process has none and gains those of its file.
    pub ambient: bool,
    /// The seccomp filter, as BPF instructions.
    pub filter: Vec<sock_filter>,
}

impl Confinement {
    /// Starts a program, whose path is relative to the new root, as a daemon; its output goes to `log`.
    pub fn start(&self, host: &Host, program: &str, arguments: &[&str], log: &Path) -> Result<Agent> {
        let out = File::options().create(true).append(true).open(log).context("log")?;
        Agent::start(self.command(host, program).args(arguments), out, log.to_owned())
    }

    pub fn command(&self, host: &Host, program: &str) -> Command {
        let mut command = host.command(program);
        let this = self.clone();
        let mask = self.capabilities;
        let (retained, dropped) = caps::all().into_iter().partition(|one| one.bitmask() & mask != 0);
        // SAFETY: the closure makes system calls; unless one fails, it neither allocates nor takes a lock after the
        // fork.
        unsafe { command.pre_exec(move || this.enter(&retained, &dropped)) };
        command
    }

    fn enter(&self, retained: &CapsHashSet, dropped: &CapsHashSet) -> io::Result<()> {
        chroot(&self.root)?;
        chdir("/")?;
        for capability in dropped {
            caps::drop(None, CapSet::Bounding, *capability).map_err(io::Error::other)?;
        }
        setgroups(&[])?;
        let (uid, gid) = (Uid::from_raw(self.id), Gid::from_raw(self.id));
        setresgid(gid, gid, gid)?;
        if self.ambient {
            set_keepcaps(true)?;
            setresuid(uid, uid, uid)?;
            set_capabilities(retained).map_err(io::Error::other)?;
            set_no_new_privs()?;
            self.install()?;
        } else {
            // Without `no_new_privs` only root may install a filter.
            self.install()?;
            setresuid(uid, uid, uid)?;
        }
        // The change of user has cleared the parent-death signal.
        Ok(set_pdeathsig(Signal::SIGKILL)?)
    }

    fn install(&self) -> io::Result<()> {
        let program = sock_fprog {
            len: u16::try_from(self.filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
            filter: self.filter.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel reads `len` instructions, which outlive the call.
        let made =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        if made == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Makes the permitted, effective, inheritable and ambient sets `capabilities`. Allocates nothing unless a call fails.
fn set_capabilities(capabilities: &CapsHashSet) -> Result<(), CapsError> {
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, capabilities)?;
    }
    capabilities.iter().try_for_each(|capability| caps::raise(None, CapSet::Ambient, *capability))
}
