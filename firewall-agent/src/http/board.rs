//! What the agent's loop leaves for those who ask: neither side ever waits for the other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::metrics::Timings;
use super::snapshot::Snapshot;

/// Longest time between two ticks of a loop that is alive. A publish takes a few seconds at the very most.
const ALIVE: Duration = Duration::from_secs(30);

/// The latest snapshot, the loop's pulse, and what is observed once and never again.
#[derive(Debug)]
pub struct Board {
    snapshot: Mutex<Arc<Snapshot>>,
    made: Instant,
    /// Milliseconds from `made` to the loop's last tick.
    tick: AtomicU64,
    /// Unix time, in milliseconds, at which everything taken was last known to be in force; 0 before the first time.
    settled: AtomicI64,
    /// Listeners that are not bound, and why.
    unbound: Mutex<BTreeMap<String, String>>,
    timings: Timings,
}

impl Board {
    /// The board of an agent that starts now, with the promised time to a change's being in force.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            snapshot: Mutex::default(),
            made: Instant::now(),
            tick: AtomicU64::new(0),
            settled: AtomicI64::new(0),
            unbound: Mutex::default(),
            timings: Timings::new(window),
        }
    }

    /// The loop is alive.
    pub fn tick(&self) {
        let now = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.tick.store(now, Ordering::Relaxed);
    }

    /// Takes what the loop has to say from now on.
    pub fn post(&self, snapshot: Snapshot) {
        if snapshot.settled {
            self.settled.store(Timestamp::now().as_millisecond(), Ordering::Relaxed);
        }
        *held(&self.snapshot) = Arc::new(snapshot);
    }

    /// The loop cannot tell how things stand, but for what waits: nothing is ready until it can again.
    pub fn unknown(&self, why: &str, waiting: BTreeMap<String, Timestamp>) {
        let mut snapshot = Snapshot::clone(&self.snapshot());
        (snapshot.status.ready, snapshot.status.not_ready) = (false, vec![why.to_owned()]);
        self.post(Snapshot { waiting, settled: false, ..snapshot });
    }

    /// A revision that is new to this host is in force: milliseconds from its file being visible, and from its
    /// `generated_at`.
    pub fn in_force(&self, apply_ms: u64, propagation_ms: i64) {
        self.timings.observe(apply_ms, propagation_ms);
    }

    /// Configured listeners that are not bound, each with the reason.
    #[must_use]
    pub fn unbound(&self) -> BTreeMap<String, String> {
        held(&self.unbound).clone()
    }

    /// A listener is bound, or not and why.
    pub(super) fn bound(&self, listener: &str, trouble: Option<String>) {
        let mut unbound = held(&self.unbound);
        match trouble {
            Some(trouble) => _ = unbound.insert(listener.to_owned(), trouble),
            None => _ = unbound.remove(listener),
        }
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&held(&self.snapshot))
    }

    /// Time since the loop's last tick.
    pub(super) fn silence(&self) -> Duration {
        self.made.elapsed().saturating_sub(Duration::from_millis(self.tick.load(Ordering::Relaxed)))
    }

    /// Why the loop is not alive.
    pub(super) fn dead(&self) -> Option<String> {
        let silence = self.silence();
        (silence > ALIVE)
            .then(|| format!("the agent's loop has not ticked for {} seconds", silence.as_secs()))
    }

    /// When everything taken was last known to be in force, in seconds of Unix time.
    pub(super) fn settled(&self) -> f64 {
        Duration::from_millis(u64::try_from(self.settled.load(Ordering::Relaxed)).unwrap_or(0)).as_secs_f64()
    }

    pub(super) fn timings(&self) -> &Timings {
        &self.timings
    }

    #[cfg(test)]
    pub(super) fn age(&mut self, by: Duration) {
        self.made = self.made.checked_sub(by).unwrap();
    }
}

/// What is held for a moment cannot be left half-changed by a panic.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
