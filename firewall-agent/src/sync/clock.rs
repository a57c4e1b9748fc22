//! Time source for rule expiry.

use jiff::{SignedDuration, Timestamp};

/// Largest step forward that a clock without synchronisation makes unconfirmed.
const LARGEST_STEP: SignedDuration = SignedDuration::from_hours(1);

/// A synchronised clock catches up with a smaller lead of the mark by itself.
const SMALLEST_LEAD: SignedDuration = SignedDuration::from_mins(1);

/// Monotonic clock that rejects implausible steps forward.
///
/// Its time is the later of the wall clock and a **mark**, the latest accepted time, which the caller stores. A rule
/// that expired before the mark stays expired over restarts and reboots.
///
/// * A wall clock that the kernel reports as **synchronised** is accepted, however far forward it is. A mark ahead of
///   it stays, and [`Self::ahead`] reports it: time stops until the wall clock reaches the mark, or an operator lowers
///   it.
/// * A wall clock that is **not synchronised** is accepted up to one hour ahead of the expected time: the mark plus the
///   elapsed time. A start is no exception. A wall clock further ahead is **untrusted**: time continues from its last
///   value, at the pace of the uptime, until the wall clock is synchronised, or an accepted file confirms it.
/// * A **file** generated at G confirms a wall clock of up to G plus one hour. An older file confirms the time up to G
///   alone: wall clock and file both say that G has passed.
/// * A wall clock that is not synchronised and **behind** the mark, as after a boot without a real-time clock, changes
///   nothing: time continues from the mark.
/// * **Without a mark**, as at the first start, only the wall clock is known. It applies provisionally, and nothing of
///   it is stored until it is established: by synchronisation, or by a file generated within one hour of it. The wall
///   clock then replaces the provisional time, also backwards (by a file, only from more than an hour ahead): a clock
///   that was wrong at the first start expires no rule permanently.
///
/// The cost of an untrusted clock: a rule that ended while the host was down for more than an hour stays in force until
/// the wall clock is synchronised or confirmed.
#[derive(Debug, Clone)]
pub struct Clock {
    now: Timestamp,
    /// `now` is based on a mark, a synchronised clock or a file.
    established: bool,
    untrusted: Option<Timestamp>,
    ahead: Option<SignedDuration>,
    /// The latest generation time of an accepted file.
    confirmed: Timestamp,
}

impl Clock {
    /// Starts from the stored mark.
    #[must_use]
    pub fn new(wall: Timestamp, synchronised: bool, mark: Option<Timestamp>) -> Self {
        let mut clock = Self {
            now: mark.unwrap_or(wall),
            established: mark.is_some(),
            untrusted: None,
            ahead: None,
            confirmed: Timestamp::MIN,
        };
        clock.tick(wall, SignedDuration::ZERO, synchronised);
        clock
    }

    /// Records the generation time of an accepted file. It counts from the next tick on.
    pub fn confirm(&mut self, generated_at: Timestamp) {
        self.confirmed = self.confirmed.max(generated_at);
    }

    /// Advances the clock by `elapsed`, the monotonic time since the last call, and returns it. The first tick may
    /// include time known to have passed before a start (in the same boot).
    pub fn tick(&mut self, wall: Timestamp, elapsed: SignedDuration, synchronised: bool) -> Timestamp {
        let expected = later(self.now, elapsed.max(SignedDuration::ZERO));
        let confirmed = later(self.confirmed, LARGEST_STEP);
        let agrees = wall <= confirmed && self.confirmed <= later(wall, LARGEST_STEP);
        if !self.established && (synchronised || agrees) {
            // A file confirms the time to the hour only: within it a provisional time does not go back.
            let is_wrong = synchronised || expected > later(wall, LARGEST_STEP);
            self.now = if is_wrong { wall } else { wall.max(expected) };
            self.established = true;
        } else if synchronised {
            self.now = wall.max(self.now);
        } else {
            let is_credible = wall <= later(expected, LARGEST_STEP) || wall <= confirmed;
            let credible = if is_credible { wall } else { wall.min(self.confirmed) };
            self.now = expected.max(credible);
        }
        self.untrusted = (wall > self.now).then_some(wall);
        let tolerated = if synchronised { SMALLEST_LEAD } else { LARGEST_STEP };
        self.ahead = Some(self.now.duration_since(wall)).filter(|lead| *lead > tolerated);
        self.now
    }

    /// Current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The mark to store; `None` while the time is provisional.
    #[must_use]
    pub fn mark(&self) -> Option<Timestamp> {
        self.established.then_some(self.now)
    }

    /// The wall clock, while it is untrusted.
    #[must_use]
    pub fn untrusted_wall(&self) -> Option<Timestamp> {
        self.untrusted
    }

    /// Lead of the mark over the wall clock: more than one minute over a synchronised wall clock, more than one hour
    /// over any other.
    #[must_use]
    pub fn ahead(&self) -> Option<SignedDuration> {
        self.ahead
    }

    /// Lowest value to which an operator may lower the mark: `to`, by default the synchronised wall clock, and no lower
    /// than that. Under a wall clock that is not synchronised, no lower than the generation time of the newest accepted
    /// file.
    ///
    /// # Errors
    /// The reason not to lower it, with the times.
    pub fn lowest(
        &self,
        wall: Timestamp,
        synchronised: bool,
        to: Option<Timestamp>,
    ) -> Result<Timestamp, String> {
        let mark = self.mark().ok_or("no mark is stored: there is nothing to lower")?;
        let lowest = match to {
            Some(to) if synchronised => to.max(wall),
            Some(to) if to < self.confirmed => {
                let newest = self.confirmed;
                return Err(format!(
                    "--to {to}: must not be before {newest}, the time of the newest accepted file"
                ));
            }
            Some(to) => to,
            None if synchronised => wall,
            None => {
                return Err(format!(
                    "the wall clock, {wall}, is not synchronised: synchronise it, or give the real time with \
                     --to TIME"
                ));
            }
        };
        if lowest < mark { Ok(lowest) } else { Err(format!("the mark, {mark}, is not ahead of {lowest}")) }
    }

    /// Lowers a mark that is ahead of the real time, on an operator's command. Never moves it forward. Rules that end
    /// after `to` count again.
    pub fn lower(&mut self, to: Timestamp) {
        self.now = self.now.min(to);
        self.established = true;
        self.untrusted = None;
        self.ahead = None;
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
