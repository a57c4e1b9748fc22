//! When to try again what failed.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Doubles the wait from one second to half a minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    wait: Duration,
    until: Option<Instant>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { wait: FIRST, until: None }
    }
}

impl Backoff {
    pub fn failed(&mut self, now: Instant) {
        self.until = Some(now + self.wait);
        self.wait = (self.wait * 2).min(LONGEST);
    }

    pub fn may_try(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_half_a_minute() {
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
