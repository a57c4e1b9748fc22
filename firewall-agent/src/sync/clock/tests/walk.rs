//! Random histories of hosts with wrong clocks, checked by an oracle that knows the real time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow, ensure};
use fastrand::Rng;

use super::*;

const HISTORIES: u64 = 4000;
const STEPS: usize = 60;
const HOUR: i64 = 3600;

/// A clock, correct or with a planted fault.
trait TestClock {
    fn start(wall: Timestamp, synchronised: bool, mark: Option<Timestamp>) -> Self;
    fn inner(&mut self) -> &mut Clock;

    fn confirm(&mut self, generated_at: Timestamp) {
        Clock::confirm(self.inner(), generated_at);
    }

    fn tick(&mut self, wall: Timestamp, elapsed: SignedDuration, synchronised: bool) -> Timestamp {
        Clock::tick(self.inner(), wall, elapsed, synchronised)
    }

    fn mark(&mut self) -> Option<Timestamp> {
        Clock::mark(self.inner())
    }
}

impl TestClock for Clock {
    fn start(wall: Timestamp, synchronised: bool, mark: Option<Timestamp>) -> Self {
        Self::new(wall, synchronised, mark)
    }

    fn inner(&mut self) -> &mut Clock {
        self
    }
}

macro_rules! faulty {
    ($name:ident, $($method:item)*) => {
        struct $name(Clock);
        impl TestClock for $name {
            fn inner(&mut self) -> &mut Clock {
                &mut self.0
            }
            $($method)*
        }
    };
}

faulty! { TrustsAtStart,
    fn start(wall: Timestamp, _: bool, mark: Option<Timestamp>) -> Self {
        Self(Clock::new(wall, true, mark))
    }
}
faulty! { IgnoresSynchronisation,
    fn start(wall: Timestamp, _: bool, mark: Option<Timestamp>) -> Self {
        Self(Clock::new(wall, false, mark))
    }
    fn tick(&mut self, wall: Timestamp, elapsed: SignedDuration, _: bool) -> Timestamp {
        self.0.tick(wall, elapsed, false)
    }
}
faulty! { TrustsEveryStep,
    fn start(wall: Timestamp, synchronised: bool, mark: Option<Timestamp>) -> Self {
        Self(Clock::new(wall, synchronised, mark))
    }
    fn tick(&mut self, wall: Timestamp, elapsed: SignedDuration, _: bool) -> Timestamp {
        self.0.tick(wall, elapsed, true)
    }
}
faulty! { StoresTheProvisional,
    fn start(wall: Timestamp, synchronised: bool, mark: Option<Timestamp>) -> Self {
        Self(Clock::new(wall, synchronised, mark))
    }
    fn mark(&mut self) -> Option<Timestamp> {
        Some(self.0.now())
    }
}
faulty! { ForgetsTheMark,
    fn start(wall: Timestamp, synchronised: bool, _: Option<Timestamp>) -> Self {
        Self(Clock::new(wall, synchronised, None))
    }
}
faulty! { FollowsBackwards,
    fn start(wall: Timestamp, synchronised: bool, mark: Option<Timestamp>) -> Self {
        Self(Clock::new(wall, synchronised, mark))
    }
    fn tick(&mut self, wall: Timestamp, elapsed: SignedDuration, synchronised: bool) -> Timestamp {
        self.0.lower(wall);
        self.0.tick(wall, elapsed, synchronised)
    }
}
faulty! { StopsTheClock,
    fn start(wall: Timestamp, synchronised: bool, mark: Option<Timestamp>) -> Self {
        Self(Clock::new(wall, synchronised, mark))
    }
    fn tick(&mut self, wall: Timestamp, _: SignedDuration, synchronised: bool) -> Timestamp {
        self.0.tick(wall, SignedDuration::ZERO, synchronised)
    }
}
faulty! { IgnoresFiles,
    fn start(wall: Timestamp, synchronised: bool, mark: Option<Timestamp>) -> Self {
        Self(Clock::new(wall, synchronised, mark))
    }
    fn confirm(&mut self, _: Timestamp) {}
}

/// A host and its real state.
struct World<'r> {
    rng: &'r mut Rng,
    /// The real time.
    real: Timestamp,
    /// Error of the wall clock in seconds: none, ahead by more than an hour, or behind.
    error: i64,
    synchronised: bool,
    /// The mark that the agent stored last.
    stored: Option<Timestamp>,
    /// Generation time of the last file passed to the running agent.
    newest: Option<Timestamp>,
    /// The latest mark since the state was last lost.
    reached: Option<Timestamp>,
}

impl World<'_> {
    fn wall(&self) -> Timestamp {
        self.real + SignedDuration::from_secs(self.error)
    }

    fn set_wall(&mut self) {
        let year = 365 * 24 * HOUR;
        self.error = match self.rng.u8(0..6) {
            0 => self.rng.i64(HOUR + 1..2 * HOUR),
            1 => self.rng.i64(HOUR + 1..20 * year),
            2 => -self.rng.i64(1..3 * HOUR),
            3 => Timestamp::UNIX_EPOCH.duration_since(self.real).as_secs(),
            _ => 0,
        };
        // Setting the clock clears the kernel's synchronised flag; only the real time sets it again.
        self.synchronised = self.error == 0 && self.rng.bool();
    }

    /// Checks the invariants after every tick.
    fn judge<T: TestClock>(&mut self, clock: &mut T, before: Option<Timestamp>) -> Result<()> {
        let (wall, mark) = (self.wall(), clock.mark());
        let (now, untrusted, ahead) =
            (clock.inner().now(), clock.inner().untrusted_wall(), clock.inner().ahead());
        ensure!(
            untrusted == Some(wall).filter(|wall| *wall > now),
            "untrusted is {untrusted:?} at {now}, wall {wall}"
        );
        ensure!(mark.is_none_or(|mark| mark <= self.real), "a wrong clock moved the mark to {mark:?}");
        ensure!(mark >= self.reached, "the mark went back from {:?} to {mark:?}", self.reached);
        ensure!(mark.is_none_or(|mark| mark == now), "the mark is {mark:?}, the time {now}");
        if self.synchronised {
            ensure!(now == self.real && mark == Some(now), "synchronised, and the time is {now}");
            ensure!(ahead.is_none(), "ahead by {ahead:?}");
        }
        let is_recent = |at: Timestamp| self.real.duration_since(at) <= LARGEST_STEP;
        if self.error == 0 && self.newest.is_some_and(is_recent) {
            ensure!(now == self.real && mark == Some(now), "confirmed, and the time is {now}");
        }
        if self.error == 0 && before.is_some_and(is_recent) {
            ensure!(now == self.real, "right all the time, and the time is {now}");
        }
        if let (Some(before), Some(mark)) = (before, mark)
            && !self.synchronised
        {
            ensure!(mark >= before, "{mark} instead of {before} at the least");
        }
        self.reached = mark;
        Ok(())
    }
}

fn history<T: TestClock>(rng: &mut Rng) -> Result<()> {
    let real = at("12:00:00");
    let mut world =
        World { rng, real, error: 0, synchronised: false, stored: None, newest: None, reached: None };
    world.set_wall();
    let mut clock = T::start(world.wall(), world.synchronised, None);
    for _ in 0..STEPS {
        let mut elapsed = SignedDuration::ZERO;
        match world.rng.u8(0..12) {
            0..4 => elapsed = SignedDuration::from_secs(world.rng.i64(0..60)),
            4 => elapsed = SignedDuration::from_secs(world.rng.i64(0..10 * HOUR)),
            5 | 6 => world.set_wall(),
            7 => world.synchronised |= world.error == 0,
            8 | 9 => {
                let age = if world.rng.bool() { 60 } else { world.rng.i64(0..100 * HOUR) };
                let generated = world.real - SignedDuration::from_secs(age);
                clock.confirm(generated);
                world.newest = world.newest.max(Some(generated));
            }
            10 => {
                // A clean stop stores the mark, a kill leaves the stored one; the host may be down for a long time.
                if world.rng.bool() {
                    world.stored = clock.mark();
                }
                if world.rng.u8(0..8) == 0 {
                    world.stored = None;
                }
                world.reached = world.stored;
                world.newest = None;
                world.real += SignedDuration::from_secs(world.rng.i64(0..50 * HOUR));
                if world.rng.bool() {
                    world.set_wall();
                    world.synchronised = false;
                }
                clock = T::start(world.wall(), world.synchronised, world.stored);
                world.judge(&mut clock, None)?;
            }
            _ => world.stored = clock.mark(),
        }
        let before = clock.mark().map(|mark| mark + elapsed);
        world.real += elapsed;
        clock.tick(world.wall(), elapsed, world.synchronised);
        world.judge(&mut clock, before)?;
    }
    Ok(())
}

/// The first history with a failure, with the failure.
fn first_failure<T: TestClock>(histories: u64) -> Option<String> {
    (0..histories).find_map(|seed| {
        let walked = catch_unwind(AssertUnwindSafe(|| history::<T>(&mut Rng::with_seed(seed))));
        walked.unwrap_or_else(|_| Err(anyhow!("panicked"))).err().map(|error| format!("seed {seed}: {error}"))
    })
}

#[test]
fn wrong_clock_expires_no_rule_permanently_and_revives_none() {
    assert_eq!(first_failure::<Clock>(HISTORIES), None);
}

#[test]
fn each_planted_fault_is_detected() {
    for (name, found) in [
        ("trusts every clock at the start", first_failure::<TrustsAtStart>(HISTORIES)),
        ("ignores synchronisation", first_failure::<IgnoresSynchronisation>(HISTORIES)),
        ("trusts every step", first_failure::<TrustsEveryStep>(HISTORIES)),
        ("stores the provisional time", first_failure::<StoresTheProvisional>(HISTORIES)),
        ("forgets the mark", first_failure::<ForgetsTheMark>(HISTORIES)),
        ("follows backwards", first_failure::<FollowsBackwards>(HISTORIES)),
        ("stops the clock", first_failure::<StopsTheClock>(HISTORIES)),
        ("ignores files", first_failure::<IgnoresFiles>(HISTORIES)),
    ] {
        assert!(found.is_some(), "{name}: not found in {HISTORIES} histories");
    }
}
