//! CPU affinity of threads, for tests of the per-CPU caches.

use anyhow::Result;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Returns the numbers of the CPUs that this thread may run on.
///
/// # Errors
///
/// When the kernel does not report the affinity.
pub fn cpus() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect())
}

/// Pins this thread, and the threads that it starts from now on, to one CPU.
///
/// # Errors
///
/// When there is no such CPU, or the thread may not use it.
pub fn pin_to(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}
