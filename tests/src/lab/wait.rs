//! Waiting for what other processes do, never longer than said.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::rounds::is_brief;

const PAUSE: Duration = Duration::from_millis(5);
/// How many times longer everything may take where every instruction is emulated.
const EMULATED: u32 = 6;

/// The first value that `look` finds, asked every few milliseconds; an error naming `what` when there is none `within`
/// that time, or six times that time where every instruction is emulated.
pub fn eventually<T>(within: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let within = if is_brief() { within * EMULATED } else { within };
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if started.elapsed() > within {
            bail!("{what}: not within {} ms", within.as_millis());
        }
        sleep(PAUSE);
    }
}
