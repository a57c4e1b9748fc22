//! The kernel's clocks, and its word on whether they are synchronised.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// Both clocks are read within this time of each other, if that can be had in a few attempts.
const TOGETHER: Duration = Duration::from_millis(1);
const ATTEMPTS: usize = 5;

/// A moment by the wall clock and the uptime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock: anybody with CAP_SYS_TIME may set it.
    pub wall: Timestamp,
    /// Since boot, sleep included: nobody sets it.
    pub uptime: Duration,
    /// The kernel calls the wall clock synchronised. False where the kernel may not be asked.
    pub synchronised: bool,
}

impl Moment {
    /// # Errors
    /// The uptime cannot be read.
    pub fn now() -> Result<Self> {
        // Asked before and after: a clock that is set in between counts as not synchronised.
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

/// Asks the kernel by adjtimex(2) whether its wall clock is synchronised: `STA_UNSYNC` is not set. A program that disciplines
/// the clock clears it, as chrony with `rtcsync`, ntpd and systemd-timesyncd do; a step by hand sets it.
///
/// # Errors
/// A filter of system calls refuses the question.
pub fn synchronised() -> io::Result<bool> {
    // SAFETY: every field is a number or an array of numbers, for which zeros are values. No mode is set: it only reads.
    let mut state: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
    // By number: libraries make it clock_adjtime(2) as they like, which filters refuse more often.
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
    fn two_moments_are_in_order_and_near() {
        let (first, second) = (Moment::now().unwrap(), Moment::now().unwrap());
        assert!(first.uptime <= second.uptime && first.uptime > Duration::ZERO);
        let apart = Timestamp::now().duration_since(first.wall);
        assert!(apart.unsigned_abs() < Duration::from_secs(60), "{apart:?}");
    }

    #[test]
    fn the_kernel_says_whether_it_is_synchronised() {
        // SAFETY: as in `synchronised`.
        let mut state: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: the pointer is valid, and no mode is set.
        let answer = unsafe { libc::adjtimex(&raw mut state) };
        assert_eq!(synchronised().unwrap(), answer != libc::TIME_ERROR, "as the library has it");
    }
}
