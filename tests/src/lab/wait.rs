//! Waiting for what other processes do, never longer than said.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(5);

/// The first value that `look` finds, asked every few milliseconds; an error naming `what` when there is none `within`
/// that time.
pub fn eventually<T>(within: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
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
