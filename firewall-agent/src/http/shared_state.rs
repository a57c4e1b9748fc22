//! State shared between the event loop and the HTTP thread; neither blocks the other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::metrics::Timings;
use super::published_state::PublishedState;

/// Longest time between two ticks of a live loop. A publish takes a few seconds at most.
const ALIVE: Duration = Duration::from_secs(30);

/// Latest snapshot, heartbeat of the loop, and timings.
#[derive(Debug)]
pub struct SharedState {
    snapshot: Mutex<Arc<PublishedState>>,
    made: Instant,
    /// Milliseconds from `made` to the loop's last tick.
    tick: AtomicU64,
    /// Unix time, in milliseconds, at which all accepted files were last known to be in force; 0 before the first time.
    all_in_force: AtomicI64,
    /// Listeners that are not bound, with the reason.
    unbound: Mutex<BTreeMap<String, String>>,
    /// Reset sessions, by database; empty for closed destinations of an unknown one.
    sessions_reset: Mutex<BTreeMap<String, u64>>,
    timings: Timings,
}

impl SharedState {
    /// Creates the shared state of an agent that starts now; `window` is the propagation window.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            snapshot: Mutex::default(),
            made: Instant::now(),
            tick: AtomicU64::new(0),
            all_in_force: AtomicI64::new(0),
            unbound: Mutex::default(),
            sessions_reset: Mutex::default(),
            timings: Timings::new(window),
        }
    }

    /// Records that the loop is alive.
    pub fn tick(&self) {
        let now = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.tick.store(now, Ordering::Relaxed);
    }

    /// Publishes the loop's next snapshot.
    pub fn post(&self, snapshot: PublishedState) {
        if snapshot.all_in_force {
            self.all_in_force.store(Timestamp::now().as_millisecond(), Ordering::Relaxed);
        }
        *lock(&self.snapshot) = Arc::new(snapshot);
    }

    /// Reports that the loop cannot determine its state, except for `waiting`: nothing is ready until the next
    /// snapshot.
    pub fn unknown(&self, why: &str, waiting: BTreeMap<String, Timestamp>) {
        let mut snapshot = PublishedState::clone(&self.snapshot());
        (snapshot.status.ready, snapshot.status.not_ready) = (false, vec![why.to_owned()]);
        self.post(PublishedState { waiting, all_in_force: false, ..snapshot });
    }

    /// Records that a revision new to this host is in force: milliseconds since its file became visible, and since its
    /// `generated_at`, unless that is older than the agent.
    pub fn in_force(&self, apply_ms: u64, propagation_ms: Option<i64>) {
        self.timings.observe(apply_ms, propagation_ms);
    }

    /// Counts reset sessions of a database.
    pub fn count_sessions_reset(&self, database: &str, sessions: u64) {
        *lock(&self.sessions_reset).entry(database.to_owned()).or_default() += sessions;
    }

    /// Reset sessions by database.
    pub(super) fn sessions_reset(&self) -> BTreeMap<String, u64> {
        lock(&self.sessions_reset).clone()
    }

    /// Configured listeners that are not bound, with the reason.
    #[must_use]
    pub fn unbound(&self) -> BTreeMap<String, String> {
        lock(&self.unbound).clone()
    }

    /// Records a listener as bound, or as not bound with the reason.
    pub(super) fn bound(&self, listener: &str, error: Option<String>) {
        let mut unbound = lock(&self.unbound);
        match error {
            Some(error) => _ = unbound.insert(listener.to_owned(), error),
            None => _ = unbound.remove(listener),
        }
    }

    pub(super) fn snapshot(&self) -> Arc<PublishedState> {
        Arc::clone(&lock(&self.snapshot))
    }

    /// Time since the loop's last tick.
    pub(super) fn silence(&self) -> Duration {
        self.made.elapsed().saturating_sub(Duration::from_millis(self.tick.load(Ordering::Relaxed)))
    }

    /// The reason if the loop is not alive.
    pub(super) fn dead(&self) -> Option<String> {
        let silence = self.silence();
        (silence > ALIVE).then(|| format!("the event loop has not ticked for {} seconds", silence.as_secs()))
    }

    /// Time at which all accepted files were last known to be in force, in seconds of Unix time.
    pub(super) fn all_in_force(&self) -> f64 {
        Duration::from_millis(u64::try_from(self.all_in_force.load(Ordering::Relaxed)).unwrap_or(0))
            .as_secs_f64()
    }

    pub(super) fn timings(&self) -> &Timings {
        &self.timings
    }

    #[cfg(test)]
    pub(super) fn age(&mut self, by: Duration) {
        self.made = self.made.checked_sub(by).unwrap();
    }
}

/// Locks, ignoring poisoning: no critical section can panic halfway through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
