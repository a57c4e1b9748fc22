//! A process whose descendants die with it.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// Runs the command to its end as the first process of a PID namespace: when it or this process ends, even by Ctrl-C or
/// SIGKILL, the kernel kills all its descendants. To be called once, by a process that starts no other children
/// afterwards. Needs root.
pub fn contained(command: &mut Command) -> Result<ExitStatus> {
    // SAFETY: the closure makes one system call; it neither allocates nor takes a lock after the fork.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
    unshare(CloneFlags::CLONE_NEWPID).context("no PID namespace; it needs root")?;
    command.status().with_context(|| format!("{}: not started", command.get_program().to_string_lossy()))
}
