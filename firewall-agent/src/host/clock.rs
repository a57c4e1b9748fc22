//! The host's clocks.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// One moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The wall clock, which anybody may set.
    pub wall: Timestamp,
    /// Time since boot, sleep included, which nobody sets.
    pub uptime: Duration,
}

impl Moment {
    /// # Errors
    /// The clock cannot be read.
    pub fn now() -> Result<Self> {
        let uptime = clock_gettime(ClockId::CLOCK_BOOTTIME).context("cannot read the clock")?.into();
        Ok(Self { wall: Timestamp::now(), uptime })
    }
}
