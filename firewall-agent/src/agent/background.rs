//! Work on a disk that may be slow, or hang: a thread of its own does it, and who asks for it waits for a bounded time.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};

/// Longest time that all waiting together takes at once. It is saved up again in ten times as long.
const HASTE: Duration = Duration::from_millis(100);
const REGAINED_IN: u32 = 10;
/// A process that ends waits so long for what is still to be done.
const LEAVE: Duration = Duration::from_secs(5);
const STACK: usize = 256 << 10;

/// What a file shall hold; `None`: it shall not be there.
type Content = Option<Arc<[u8]>>;
type Work<K> = dyn Fn(&K, Option<&[u8]>) -> Result<()> + Send + Sync;

/// Does one kind of work, whose newest content counts for each key. In each round of work the keys come in their order,
/// and what is to be removed comes last.
pub(super) struct Background<K> {
    work: Arc<Work<K>>,
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    changed: Condvar,
}

struct State<K> {
    wishes: BTreeMap<K, Wish>,
    started: bool,
    leaving: bool,
    /// How long may be waited, and since when that is saved up.
    patience: (Duration, Instant),
    most: Duration,
}

struct Wish {
    content: Content,
    stage: Stage,
}

enum Stage {
    Waiting,
    Begun,
    Done(Result<()>),
}

impl<K: Ord + Clone + Send + 'static> Background<K> {
    pub fn new(work: impl Fn(&K, Option<&[u8]>) -> Result<()> + Send + Sync + 'static) -> Self {
        let state = State {
            wishes: BTreeMap::new(),
            started: false,
            leaving: false,
            patience: (HASTE, Instant::now()),
            most: HASTE,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        Self { work: Arc::new(work), shared }
    }

    /// Waits for each piece of work up to `patience` from now on.
    pub fn wait_up_to(&self, patience: Duration) {
        let mut state = self.shared.lock();
        (state.most, state.patience) = (patience, (patience, Instant::now()));
    }

    /// Has `key` get this content, instead of what was to get there before; how that ended. `None` when it has not in
    /// time: it goes on, and the same call gives its end later.
    pub fn ask(&self, key: K, content: Option<&[u8]>) -> Option<Result<()>> {
        if !self.is_started() {
            // Without a thread there is no other way.
            return Some((self.work)(&key, content));
        }
        let mut state = self.shared.lock();
        if state.wishes.get(&key).is_none_or(|wish| wish.content.as_deref() != content) {
            let wish = Wish { content: content.map(Arc::from), stage: Stage::Waiting };
            state.wishes.insert(key.clone(), wish);
            self.shared.changed.notify_all();
        }
        let (started, patience) = (Instant::now(), state.patience());
        let is_under_way = |state: &mut State<K>| {
            state.wishes.get(&key).is_some_and(|wish| !matches!(wish.stage, Stage::Done(_)))
        };
        let waited = self.shared.changed.wait_timeout_while(state, patience, is_under_way);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.patience.0 = patience.saturating_sub(started.elapsed());
        state.patience.1 = Instant::now();
        state.take_end(&key)
    }

    /// Whether what was not done in time has ended well since. Says so once.
    pub fn has_ended(&self, key: &K) -> bool {
        matches!(self.shared.lock().take_end(key), Some(Ok(())))
    }

    /// Whether there is a thread. The first work starts it.
    fn is_started(&self) -> bool {
        let mut state = self.shared.lock();
        if !state.started {
            let (work, shared) = (Arc::clone(&self.work), Arc::clone(&self.shared));
            let thread = thread::Builder::new().name("disk".to_owned()).stack_size(STACK);
            state.started = thread.spawn(move || shared.work(&*work)).is_ok();
        }
        state.started
    }
}

impl<K> Drop for Background<K> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.leaving = true;
        self.shared.changed.notify_all();
        let is_left = |state: &mut State<K>| {
            state.started && state.wishes.values().any(|wish| !matches!(wish.stage, Stage::Done(_)))
        };
        let waited = self.shared.changed.wait_timeout_while(state, LEAVE, is_left);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        // Nothing is begun any more: another process may follow.
        state.wishes.clear();
    }
}

impl<K> Debug for Background<K> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}

impl<K: Ord> State<K> {
    /// How long may be waited now.
    fn patience(&self) -> Duration {
        let (left, since) = self.patience;
        // Who is told to wait for each piece of work does so.
        if self.most > HASTE { self.most } else { (left + since.elapsed() / REGAINED_IN).min(self.most) }
    }

    fn take_end(&mut self, key: &K) -> Option<Result<()>> {
        let is_done = self.wishes.get(key).is_some_and(|wish| matches!(wish.stage, Stage::Done(_)));
        match is_done.then(|| self.wishes.remove(key)).flatten()?.stage {
            Stage::Done(end) => Some(end),
            Stage::Waiting | Stage::Begun => None,
        }
    }
}

impl<K: Ord + Clone> Shared<K> {
    /// Works until nobody asks any more.
    fn work(&self, work: &Work<K>) {
        while let Some(round) = self.next_round() {
            for (key, content) in round {
                if !self.lock().wishes.contains_key(&key) {
                    return;
                }
                self.end(&key, &content, work(&key, content.as_deref()));
            }
        }
    }

    /// Everything that waits, once something does. `None` when nothing ever will.
    fn next_round(&self) -> Option<Vec<(K, Content)>> {
        let mut state = self.lock();
        loop {
            let waiting = state.wishes.iter_mut().filter(|(_, wish)| matches!(wish.stage, Stage::Waiting));
            let mut round: Vec<(K, Content)> = waiting
                .map(|(key, wish)| {
                    wish.stage = Stage::Begun;
                    (key.clone(), wish.content.clone())
                })
                .collect();
            if !round.is_empty() {
                round.sort_by(|one, other| order(one).cmp(&order(other)));
                return Some(round);
            }
            if state.leaving {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes note of an end, unless something newer is to get there.
    fn end(&self, key: &K, content: &Content, end: Result<(), Error>) {
        let mut state = self.lock();
        if let Some(wish) = state.wishes.get_mut(key)
            && matches!(wish.stage, Stage::Begun)
            && wish.content == *content
        {
            wish.stage = Stage::Done(end);
        }
        self.changed.notify_all();
    }
}

impl<K> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn order<K>((key, content): &(K, Content)) -> (bool, &K) {
    (content.is_none(), key)
}

#[cfg(test)]
mod tests;
