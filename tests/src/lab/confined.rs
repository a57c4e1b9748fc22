//! What systemd or a container runtime does between the fork and the program: a root directory, a user, what is left of
//! the capabilities, a filter of system calls.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use libc::{c_int, c_ulong, sock_filter, sock_fprog};
use nix::sys::prctl::{set_keepcaps, set_no_new_privs, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, chdir, chroot, setgroups, setresgid, setresuid};

use super::{Agent, CAPABILITY_MASK, Host};

/// Highest number that a capability may come to have.
const CAPABILITIES: c_ulong = 64;

/// How a process is confined. The bounding set is always the agent's three capabilities.
#[derive(Clone, Debug)]
pub struct Confinement {
    pub root: PathBuf,
    /// Uid, and gid likewise; no other group.
    pub id: u32,
    /// systemd's way: the three capabilities stay with the user, without any on the program, and nothing can be gained.
    /// Otherwise a runtime's way: the process has none, and gains what its program has.
    pub ambient: bool,
    /// The filter of system calls, as the kernel takes it.
    pub filter: Vec<sock_filter>,
}

impl Confinement {
    /// Starts a program, whose path is one below the root, as a daemon; its output goes to `log`.
    pub fn start(&self, host: &Host, program: &str, arguments: &[&str], log: &Path) -> Result<Agent> {
        let out = File::options().create(true).append(true).open(log).context("log")?;
        Agent::start(self.command(host, program).args(arguments), out, log.to_owned())
    }

    pub fn command(&self, host: &Host, program: &str) -> Command {
        let mut command = host.command(program);
        let this = self.clone();
        // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock after the fork.
        unsafe { command.pre_exec(move || this.enter()) };
        command
    }

    fn enter(&self) -> io::Result<()> {
        chroot(&self.root)?;
        chdir("/")?;
        for capability in (0..CAPABILITIES).filter(|one| CAPABILITY_MASK & (1 << one) == 0) {
            // Those that this kernel does not know cannot be dropped.
            let _ = prctl(libc::PR_CAPBSET_DROP, capability);
        }
        setgroups(&[])?;
        let (uid, gid) = (Uid::from_raw(self.id), Gid::from_raw(self.id));
        setresgid(gid, gid, gid)?;
        if self.ambient {
            set_keepcaps(true)?;
            setresuid(uid, uid, uid)?;
            keep(CAPABILITY_MASK)?;
            set_no_new_privs()?;
            self.install()?;
        } else {
            // Without no_new_privs only root may install a filter.
            self.install()?;
            setresuid(uid, uid, uid)?;
        }
        // The change of user has cleared it.
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

/// Permitted, effective, inheritable and ambient become `mask`.
fn keep(mask: u64) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let (low, high) = (mask as u32, (mask >> 32) as u32);
    let sets = [low, low, low, high, high, high];
    // SAFETY: two words of header and six of sets are what version 3 reads.
    if unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for capability in (0..CAPABILITIES).filter(|one| mask & (1 << one) != 0) {
        // SAFETY: numbers only.
        let raised = unsafe {
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as c_ulong, capability, 0, 0)
        };
        if raised != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn prctl(option: c_int, argument: c_ulong) -> io::Result<()> {
    // SAFETY: numbers only.
    if unsafe { libc::prctl(option, argument, 0, 0, 0) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
