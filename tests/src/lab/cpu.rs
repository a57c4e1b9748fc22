//! The processors that a thread runs on. The caches of the firewall are per processor: so are the tests of them.

use anyhow::Result;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Processors that this thread may run on, by their numbers.
///
/// # Errors
///
/// When the kernel refuses to tell.
pub fn cpus() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect())
}

/// Keeps this thread, and what it starts from now on, on one processor.
///
/// # Errors
///
/// When there is no such processor, or the thread may not use it.
pub fn pin_to(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}
