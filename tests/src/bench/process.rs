//! Resource usage of a process, from `/proc`.

use std::fs;

use crate::lab::process_status;
use anyhow::{Context as _, Result};

/// Returns the CPU time used, user and system, in seconds.
pub fn cpu_time(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').context("no name")?.1.split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).map_while(|field| field.parse().ok()).collect();
    // SAFETY: the call takes and returns a number.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Ok(ticks.iter().sum::<f64>() / per_second)
}

/// Returns the resident memory in bytes.
pub fn resident(pid: u32) -> Result<f64> {
    let kib = process_status(pid)?.vmrss.context("no VmRSS")?;
    Ok(kib as f64 * 1024.0)
}
