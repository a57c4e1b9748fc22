//! Bounded waits for conditions in other processes.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::rounds::is_brief;

const PAUSE: Duration = Duration::from_millis(5);
/// Factor for every timeout where every instruction is emulated.
const EMULATED: u32 = 6;

/// Polls `probe` every few milliseconds and returns its first value; fails, naming `what`, after `within`, or six times
/// that where every instruction is emulated.
pub fn eventually<T>(within: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
    let within = if is_brief() { within * EMULATED } else { within };
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return Ok(found);
        }
        if started.elapsed() > within {
            bail!("{what}: not within {} ms", within.as_millis());
        }
        sleep(PAUSE);
    }
}
