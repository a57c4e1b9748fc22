//! Pauses between retries.

use std::ops::Add;
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Doubles the pause from 1 s to 30 s. Works with any clock: [`Instant`], or the time since boot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff<T = Instant> {
    wait: Duration,
    until: Option<T>,
}

impl<T> Default for Backoff<T> {
    fn default() -> Self {
        Self { wait: FIRST, until: None }
    }
}

impl<T: Copy + PartialOrd + Add<Duration, Output = T>> Backoff<T> {
    pub fn failed(&mut self, now: T) {
        self.until = Some(now + self.wait);
        self.wait = (self.wait * 2).min(LONGEST);
    }

    pub fn may_try(&self, now: T) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_up_to_30_seconds() {
        let (mut backoff, mut now) = (Backoff::default(), Instant::now());
        assert!(backoff.may_try(now));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            backoff.failed(now);
            assert!(!backoff.may_try(now + Duration::from_secs(seconds) - Duration::from_millis(1)));
            now += Duration::from_secs(seconds);
            assert!(backoff.may_try(now), "{seconds}");
        }
    }
}
