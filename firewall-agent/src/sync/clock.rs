//! The time that expiry goes by.

use jiff::{SignedDuration, Timestamp};

/// A step forward beyond this is held until something confirms it.
const LARGEST_STEP: SignedDuration = SignedDuration::from_hours(1);

/// A clock that never goes back and does not believe every step forward.
///
/// Its time is the later of the machine's clock and a high-water mark that is kept over restarts, so an expired rule
/// cannot come back. A step of more than an hour, measured against the time that really went by, is held: meanwhile
/// it goes on from where it was. A file generated about then confirms it; so does a restart.
#[derive(Debug, Clone)]
pub struct Clock {
    now: Timestamp,
    /// What the machine's clock says while that is not believed.
    held: Option<Timestamp>,
    /// The latest time that a file confirmed.
    confirmed: Timestamp,
}

impl Clock {
    /// Starts at the later of the machine's clock and the mark kept from before.
    #[must_use]
    pub fn new(wall: Timestamp, high_water: Timestamp) -> Self {
        Self { now: wall.max(high_water), held: None, confirmed: Timestamp::UNIX_EPOCH }
    }

    /// Takes note that a file of this time was pushed.
    pub fn confirm(&mut self, generated_at: Timestamp) {
        self.confirmed = self.confirmed.max(generated_at);
    }

    /// The time, `elapsed` after the last call by a clock that nobody sets.
    pub fn tick(&mut self, wall: Timestamp, elapsed: SignedDuration) -> Timestamp {
        let expected = self.now.saturating_add(elapsed).unwrap_or(Timestamp::MAX);
        let latest = |from: Timestamp| from.saturating_add(LARGEST_STEP).unwrap_or(Timestamp::MAX);
        let believed = wall <= latest(expected) || wall <= latest(self.confirmed);
        self.held = (!believed).then_some(wall);
        self.now = if believed { wall.max(self.now) } else { expected };
        self.now
    }

    /// The time now, which is also the mark to keep.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What the machine's clock says, while that is not believed.
    #[must_use]
    pub fn held(&self) -> Option<Timestamp> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-09-01T{text}Z").parse().unwrap()
    }

    #[test]
    fn the_clock_follows_the_machine_but_never_back_and_not_at_once_far_ahead() {
        for (what, high_water, wall, confirmed, expected) in [
            ("on time", "10:00:00", "12:00:01", None, "12:00:01"),
            ("a little ahead", "10:00:00", "12:50:00", None, "12:50:00"),
            ("back", "10:00:00", "03:00:00", None, "12:00:00"),
            ("far ahead", "10:00:00", "15:00:00", None, "12:00:01"),
            ("far ahead, confirmed", "10:00:00", "15:00:00", Some("14:30:00"), "15:00:00"),
            ("far ahead, confirmed for less", "10:00:00", "15:00:00", Some("13:30:00"), "12:00:01"),
            ("behind a mark from before", "13:00:00", "12:00:01", None, "13:00:00"),
        ] {
            let mut clock = Clock::new(at("12:00:00"), at(high_water));
            if let Some(time) = confirmed {
                clock.confirm(at(time));
            }
            let now = clock.tick(at(wall), SignedDuration::from_secs(1));
            assert_eq!(now, at(expected), "{what}");
            assert_eq!(clock.held().is_some(), now < at(wall), "{what}");
        }
    }

    #[test]
    fn a_held_step_is_taken_once_it_is_confirmed_and_forgotten_when_it_is_taken_back() {
        let mut clock = Clock::new(at("12:00:00"), Timestamp::UNIX_EPOCH);
        let second = SignedDuration::from_secs(1);
        assert_eq!(clock.tick(at("20:00:00"), second), at("12:00:01"));
        assert_eq!(clock.tick(at("20:00:01"), second), at("12:00:02"));
        clock.confirm(at("20:00:00"));
        assert_eq!(clock.tick(at("20:00:02"), second), at("20:00:02"));
        let mut clock = Clock::new(at("12:00:00"), Timestamp::UNIX_EPOCH);
        clock.tick(at("20:00:00"), second);
        assert_eq!(clock.tick(at("12:00:02"), second), at("12:00:02"));
        assert_eq!(clock.held(), None);
    }
}
