//! The kernel's clocks and synchronisation status.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// Maximum time between the readings of both clocks, if reached within a few attempts.
const TOGETHER: Duration = Duration::from_millis(1);
const ATTEMPTS: usize = 5;

/// Wall clock and uptime at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, which any process with CAP_SYS_TIME may set.
    pub wall: Timestamp,
    /// Time since boot, sleep included; cannot be set.
    pub uptime: Duration,
    /// The kernel reports the wall clock as synchronised. `false` where the query is not permitted.
    pub synchronised: bool,
}

impl Moment {
    /// Reads both clocks.
    ///
    /// # Errors
    /// When the uptime cannot be read.
    pub fn now() -> Result<Self> {
        // Queried before and after: a clock that is set in between counts as not synchronised.
        let before = synchronised().unwrap_or(false);
        let mut moment = read()?;
        for _ in 1..ATTEMPTS {
            if uptime()?.saturating_sub(moment.uptime) <= TOGETHER {
                break;
            }
            moment = read()?;
        }
        moment.synchronised = before && synchronised().unwrap_or(false);
        Ok(moment)
    }
}

fn read() -> Result<Moment> {
    Ok(Moment { uptime: uptime()?, wall: Timestamp::now(), synchronised: false })
}

fn uptime() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_BOOTTIME).context("cannot read CLOCK_BOOTTIME")?.into())
}

/// Queries adjtimex(2) whether the wall clock is synchronised: `STA_UNSYNC` is not set. A program that disciplines the
/// clock clears it, as chrony with `rtcsync`, ntpd and systemd-timesyncd do; a manual step sets it.
///
/// # Errors
/// When a system call filter refuses the query.
pub fn synchronised() -> io::Result<bool> {
    // SAFETY: every field is a number or an array of numbers, for which zeros are values. No mode is set: it only reads.
    let mut state: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
    // By number: libraries may replace it with clock_adjtime(2), which filters refuse more often.
    // SAFETY: the pointer is to a structure of the kernel's layout that lives beyond the call.
    let answer = unsafe { libc::syscall(libc::SYS_adjtimex, &raw mut state) };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(answer != i64::from(libc::TIME_ERROR) && state.status & libc::STA_UNSYNC == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_monotonic_and_close_to_wall_time() {
        let (first, second) = (Moment::now().unwrap(), Moment::now().unwrap());
        assert!(first.uptime <= second.uptime && first.uptime > Duration::ZERO);
        let apart = Timestamp::now().duration_since(first.wall);
        assert!(apart.unsigned_abs() < Duration::from_secs(60), "{apart:?}");
    }

    #[test]
    fn synchronised_matches_adjtimex() {
        // SAFETY: as in `synchronised`.
        let mut state: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: the pointer is valid, and no mode is set.
        let answer = unsafe { libc::adjtimex(&raw mut state) };
        assert_eq!(synchronised().unwrap(), answer != libc::TIME_ERROR, "as the library has it");
    }
}
