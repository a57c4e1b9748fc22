//! Thread that writes to the last-good store: a slow or hanging disk does not delay the event loop.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::Notify;
use tracing::debug;

use super::store::{LastGoodStore, Medium};
use crate::sync::{Changes, Key, StateStore};

/// Time of a commit on a healthy disk.
const HEALTHY: Duration = Duration::from_millis(200);
/// Time after which a commit under way is reported.
const LATE: Duration = Duration::from_secs(1);
/// Pauses between attempts after a refused commit.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest wait for pending changes when the process ends.
const LEAVE: Duration = Duration::from_secs(5);

/// Writes changes in the background. Of several changes of one record, only the newest is written.
pub struct StoreWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Name of the store in messages.
    store_name: String,
    state: Mutex<State>,
    changed: Condvar,
    committed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// Changes that no commit includes yet.
    waiting: Changes,
    /// Changes of the commit under way.
    in_flight: Changes,
    /// Submission time of the oldest change that is not durable.
    since: Option<Instant>,
    /// Error of the last commit; `None` if it succeeded.
    error: Option<String>,
    leaving: bool,
}

impl StoreWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start<M: Medium>(store: LastGoodStore<M>) -> Result<Self> {
        let shared = Arc::new(Shared {
            store_name: store.to_string(),
            state: Mutex::default(),
            changed: Condvar::new(),
            committed: Arc::default(),
        });
        let inner = Arc::clone(&shared);
        let thread = thread::Builder::new().name("store".to_owned());
        let thread = thread
            .spawn(move || inner.work(store))
            .context("cannot start the thread that writes the store")?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Notified after every commit, also a refused one.
    #[must_use]
    pub fn committed(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.committed)
    }
}

impl StateStore for StoreWriter {
    fn submit(&mut self, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        state.waiting.merge(changes);
        state.since.get_or_insert_with(Instant::now);
        self.shared.changed.notify_all();
    }

    fn flush(&mut self, timeout: Duration) -> bool {
        let state = self.shared.lock();
        let is_pending = |state: &mut State| !state.is_durable() && state.error.is_none();
        let waited = self.shared.changed.wait_timeout_while(state, timeout, is_pending);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_durable()
    }

    fn is_behind(&self) -> bool {
        let state = self.shared.lock();
        state.error.is_some() || state.since.is_some_and(|since| since.elapsed() >= HEALTHY)
    }

    fn is_pending(&self, key: &Key) -> bool {
        let state = self.shared.lock();
        state.waiting.contains(key) || state.in_flight.contains(key)
    }

    fn problem(&self) -> Option<String> {
        let state = self.shared.lock();
        let late = || {
            let waited = state.since?.elapsed();
            // Without the time itself: an unchanged status is not written again.
            (waited >= LATE).then(|| format!("{}: the disk is slow", self.shared.store_name))
        };
        state.error.clone().or_else(late)
    }
}

impl Drop for StoreWriter {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.leaving = true;
        self.shared.changed.notify_all();
        let is_pending = |state: &mut State| !state.is_durable() && state.error.is_none();
        let waited = self.shared.changed.wait_timeout_while(state, LEAVE, is_pending);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_durable = state.is_durable();
        drop(state);
        // A thread that hangs on a disk is left to the end of the process.
        if is_durable && let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Debug for StoreWriter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreWriter").finish_non_exhaustive()
    }
}

impl State {
    fn is_durable(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work<M: Medium>(&self, mut store: LastGoodStore<M>) {
        let mut pause = FIRST_PAUSE;
        while let Some(changes) = self.next() {
            let committed = store.commit(&changes);
            let mut state = self.lock();
            let mut in_flight = std::mem::take(&mut state.in_flight);
            match committed {
                Ok(()) => {
                    state.error = None;
                    state.since = (!state.waiting.is_empty()).then(Instant::now);
                    pause = FIRST_PAUSE;
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    debug!(error, "commit failed");
                    state.error = Some(error);
                    // Changes submitted since take precedence.
                    in_flight.merge(std::mem::take(&mut state.waiting));
                    state.waiting = in_flight;
                }
            }
            self.changed.notify_all();
            self.committed.notify_one();
            if state.error.is_some() {
                let is_staying = |state: &mut State| !state.leaving;
                let _ = self.changed.wait_timeout_while(state, pause, is_staying);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Waits for changes and takes all of them; `None` when the process ends and no work is left.
    fn next(&self) -> Option<Changes> {
        let mut state = self.lock();
        loop {
            if state.leaving && (state.waiting.is_empty() || state.error.is_some()) {
                return None;
            }
            if !state.waiting.is_empty() {
                state.in_flight = std::mem::take(&mut state.waiting);
                return Some(state.in_flight.clone());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
