//! Thread that resets the open TCP sessions of sources that lost their access.
//!
//! The event loop never waits for it: it suspends the thread before a publish, and hands over the published state after
//! one that revoked something. The thread lists listeners and sessions, and resets those that the state refuses. Before
//! each reset it makes sure that no publish has begun since: a session of the list is then older than the revocation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tracing::{debug, info};

use crate::config::merged_ranges;
use crate::host::netlink::{
    InterfaceTable, SocketReset, TcpSocket, each_listener, each_session, interface_to,
};
use crate::http::SharedState;
use crate::sync::{Listeners, RefusedBy, Session, SessionJudge};

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(10);

/// Changes of the published state since the last call of [`SessionReset::resume`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct AccessChange {
    /// The state differs.
    pub changed: bool,
    /// Sources may have lost access.
    pub revoked: bool,
}

impl AccessChange {
    /// Everything may differ.
    pub const ALL: Self = Self { changed: true, revoked: true };
}

/// The state by which sessions are judged.
#[derive(Debug)]
pub(super) struct PublishedAccess {
    pub judge: SessionJudge,
    /// Interfaces that run our program.
    pub filtered: BTreeSet<String>,
}

/// Handle of the thread.
#[derive(Debug)]
pub(super) struct SessionReset {
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// A publish may be under way.
    is_suspended: bool,
    /// Sessions must be listed.
    is_due: bool,
    /// The published state; `None` while none is due, or it is unknown.
    access: Option<Arc<PublishedAccess>>,
    /// The reason that sessions are not reset.
    problem: Option<String>,
}

impl SessionReset {
    /// Starts the thread, which first lists the sessions once: sources may have lost access while no agent ran.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(shared: Arc<SharedState>) -> Result<Self> {
        let queue = Arc::new(Queue::default());
        let inner = Arc::clone(&queue);
        let thread = thread::Builder::new().name("sessions".to_owned());
        let work = move || inner.work(&shared);
        thread.spawn(work).context("cannot start the thread that resets sessions")?;
        Ok(Self { queue })
    }

    /// Keeps every session until [`Self::resume`].
    pub fn suspend(&self) {
        self.queue.lock().is_suspended = true;
    }

    /// Continues after a publish; `access` returns `None` while the state of the kernel is unknown.
    pub fn resume(&self, change: AccessChange, access: impl FnOnce() -> Option<PublishedAccess>) {
        let mut state = self.queue.lock();
        state.is_suspended = false;
        state.is_due |= change.revoked;
        if change.changed || change.revoked {
            state.access = None;
        }
        if state.is_due && state.access.is_none() {
            state.access = access().map(Arc::new);
        }
        self.queue.changed.notify_all();
    }

    /// The reason that sessions are not reset.
    pub fn problem(&self) -> Option<String> {
        self.queue.lock().problem.clone()
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, shared: &SharedState) {
        loop {
            let access = self.next();
            let done = reset_refused(&access, || self.is_current(&access), shared);
            let failed = done.is_err();
            self.done(&access, done);
            if failed {
                thread::sleep(RETRY);
            }
        }
    }

    /// Waits until sessions must be listed.
    fn next(&self) -> Arc<PublishedAccess> {
        let mut state = self.lock();
        loop {
            if let (false, true, Some(access)) = (state.is_suspended, state.is_due, &state.access) {
                return Arc::clone(access);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns `true` if this is the published state, once a publish under way is done.
    fn is_current(&self, access: &Arc<PublishedAccess>) -> bool {
        let waited = self.changed.wait_while(self.lock(), |state| state.is_suspended);
        waited.unwrap_or_else(PoisonError::into_inner).has(access)
    }

    /// Records the result of a pass; `Ok(false)` if the state changed in the middle.
    fn done(&self, access: &Arc<PublishedAccess>, done: Result<bool>) {
        let mut state = self.lock();
        if matches!(done, Ok(true)) && state.has(access) {
            (state.is_due, state.access) = (false, None);
        }
        state.problem = done.err().map(|error| {
            format!(
                "open sessions of revoked sources are not reset, and end by the timeouts of TCP: {error:#}"
            )
        });
    }
}

impl State {
    fn has(&self, access: &Arc<PublishedAccess>) -> bool {
        self.access.as_ref().is_some_and(|current| Arc::ptr_eq(current, access))
    }
}

/// Resets every session that the published state refuses. Returns `false` if that state `is_current` no more.
fn reset_refused(
    access: &PublishedAccess,
    is_current: impl Fn() -> bool,
    shared: &SharedState,
) -> Result<bool> {
    let reset = SocketReset::new()?;
    let refused = refused(access)?;
    if refused.is_empty() {
        return Ok(true);
    }
    let mut routes =
        Routes { table: InterfaceTable::list()?, filtered: &access.filtered, known: BTreeMap::new() };
    let mut ended: BTreeMap<(RefusedBy, IpAddr), u64> = BTreeMap::new();
    let end = || -> Result<bool> {
        for (socket, by) in refused {
            if !routes.are_filtered(&socket) {
                continue;
            }
            if !is_current() {
                return Ok(false);
            }
            if reset.reset(&socket).context("cannot reset a session")? {
                *ended.entry((by, socket.peer().ip().to_canonical())).or_default() += 1;
            }
        }
        Ok(true)
    };
    let done = end();
    for ((RefusedBy { database, revision }, source), sessions) in ended {
        let database = database.map(|id| id.to_string()).unwrap_or_default();
        info!(database, %source, revision, sessions, "sessions without access reset");
        shared.count_sessions_reset(&database, sessions);
    }
    done
}

/// Sessions that the published state refuses.
fn refused(PublishedAccess { judge, .. }: &PublishedAccess) -> Result<Vec<(TcpSocket, RefusedBy)>> {
    let (ports, mut listeners) = (judge.ports(), Listeners::default());
    each_listener(&ranges(&ports), |socket| listeners.add(socket.local(), socket.v6_only))?;
    let ports: BTreeSet<u16> = listeners.ports().intersection(&ports).copied().collect();
    let mut refused = Vec::new();
    each_session(&ranges(&ports), |socket| {
        let session = Session { local: socket.local(), peer: socket.peer() };
        refused.extend(judge.refusal(&session, &listeners).map(|by| (socket, by)));
    })?;
    Ok(refused)
}

fn ranges(ports: &BTreeSet<u16>) -> Vec<std::ops::RangeInclusive<u16>> {
    merged_ranges(ports.iter().map(|port| *port..=*port))
}

/// Routes of sessions, to find those whose packets XDP sees.
struct Routes<'a> {
    table: InterfaceTable,
    filtered: &'a BTreeSet<String>,
    /// Answers by peer, local address and interface of the socket.
    known: BTreeMap<(IpAddr, IpAddr, u32), bool>,
}

impl Routes<'_> {
    /// Returns `true` if the route to the peer leads through an interface that our program filters. Packets of a peer on
    /// this host, in a tunnel or on another interface never meet the program: such a session has access.
    fn are_filtered(&mut self, socket: &TcpSocket) -> bool {
        let (peer, local) = (socket.peer().ip().to_canonical(), socket.local().ip().to_canonical());
        let (table, filtered) = (&self.table, self.filtered);
        let find = || match interface_to(peer, local, socket.bound()) {
            Ok(Some(index)) => table.is_judged(index, |name| filtered.contains(name)),
            Ok(None) => false,
            Err(error) => {
                debug!(error = format!("{error:#}"), "session kept, its route is unknown");
                false
            }
        };
        *self.known.entry((peer, local, socket.bound())).or_insert_with(find)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Option<PublishedAccess> {
        Some(PublishedAccess { judge: SessionJudge::default(), filtered: BTreeSet::new() })
    }

    fn idle() -> SessionReset {
        SessionReset { queue: Arc::default() }
    }

    const ALLOWED: AccessChange = AccessChange { changed: true, revoked: false };

    #[test]
    fn pass_ends_when_a_publish_has_begun() {
        let reset = idle();
        reset.resume(AccessChange::ALL, access);
        let first = reset.queue.next();
        assert!(reset.queue.is_current(&first));
        // A publish without a change, then one that only allows.
        reset.suspend();
        reset.resume(AccessChange::default(), || None);
        assert!(reset.queue.is_current(&first));
        reset.suspend();
        reset.resume(ALLOWED, access);
        assert!(!reset.queue.is_current(&first));
        // The interrupted pass is repeated by the new state.
        reset.queue.done(&first, Ok(true));
        let second = reset.queue.next();
        assert!(reset.queue.is_current(&second));
        reset.queue.done(&second, Ok(true));
        assert!(!reset.queue.lock().is_due);
    }

    #[test]
    fn only_a_revocation_makes_a_pass_due() {
        let reset = idle();
        reset.resume(ALLOWED, || unreachable!());
        assert!(!reset.queue.lock().is_due);
        // The kernel's state is unknown until the next call.
        reset.resume(AccessChange::ALL, || None);
        assert!(reset.queue.lock().access.is_none());
        reset.resume(AccessChange::default(), access);
        let due = reset.queue.next();
        reset.queue.done(&due, Err(anyhow::anyhow!("refused")));
        assert!(reset.problem().unwrap().ends_with(": refused"));
        assert!(reset.queue.lock().is_due, "repeated");
        reset.queue.done(&due, Ok(true));
        assert_eq!(reset.problem(), None);
    }

    #[test]
    fn nothing_is_reset_during_a_publish() {
        let reset = idle();
        reset.resume(AccessChange::ALL, access);
        let due = reset.queue.next();
        reset.suspend();
        let (queue, pass) = (Arc::clone(&reset.queue), Arc::clone(&due));
        let asks = thread::spawn(move || queue.is_current(&pass));
        thread::sleep(Duration::from_millis(50));
        assert!(!asks.is_finished());
        reset.resume(ALLOWED, access);
        assert!(!asks.join().unwrap());
    }
}
