//! Messages to the service manager: readiness, status text, watchdog.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::warn;

use crate::escape::escaped;

type Send = fn(&NotifyState<'_>) -> io::Result<()>;

/// Sends messages to the socket in `NOTIFY_SOCKET`; without it, none. Never blocks: of consecutive failures the first
/// is logged, and a later call retries the message.
#[derive(Debug)]
pub struct Notifier<F = Send> {
    send: F,
    /// Half of `WATCHDOG_USEC`; `None` without a watchdog.
    interval: Option<Duration>,
    alive_at: Option<Instant>,
    ready: bool,
    status: String,
    failed: bool,
}

impl Notifier {
    /// Reads `WATCHDOG_USEC` and `WATCHDOG_PID` from the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::new(send_now, sd_notify::watchdog_enabled())
    }
}

impl<F: FnMut(&NotifyState<'_>) -> io::Result<()>> Notifier<F> {
    fn new(send: F, watchdog: Option<Duration>) -> Self {
        let interval = watchdog.map(|watchdog| watchdog / 2);
        Self { send, interval, alive_at: None, ready: false, status: String::new(), failed: false }
    }

    /// Returns whether `READY=1` was sent.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Sends `READY=1`, once.
    pub fn ready(&mut self) {
        if !self.ready {
            self.ready = self.send(&NotifyState::Ready);
        }
    }

    /// Sends `STATUS=` when it differs from the last one. Harmful characters, line breaks among them, are escaped.
    pub fn status(&mut self, status: &str) {
        let status = escaped(status);
        if *status != self.status && self.send(&NotifyState::Status(&status)) {
            self.status = status.into_owned();
        }
    }

    /// Sends `WATCHDOG=1`, at most once in half of the watchdog timeout.
    pub fn watchdog(&mut self, now: Instant) {
        let Some(interval) = self.interval else { return };
        let is_due = self.alive_at.is_none_or(|at| now.duration_since(at) >= interval);
        if is_due && self.send(&NotifyState::Watchdog) {
            self.alive_at = Some(now);
        }
    }

    /// Sends `STOPPING=1`.
    pub fn stopping(&mut self) {
        self.send(&NotifyState::Stopping);
    }

    fn send(&mut self, state: &NotifyState<'_>) -> bool {
        let sent = (self.send)(state);
        if let Err(error) = &sent
            && !self.failed
        {
            warn!(error = error.to_string(), "service manager not notified");
        }
        self.failed = sent.is_err();
        sent.is_ok()
    }
}

/// Sends one message, or fails at once: `sd_notify::notify` would block on a service manager that does not read.
fn send_now(state: &NotifyState<'_>) -> io::Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(socket) => send_to(&socket, state),
        None => Ok(()),
    }
}

/// Sends to `socket`: a path, or, after an `@`, an abstract name.
fn send_to(socket: &OsStr, state: &NotifyState<'_>) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let datagrams = UnixDatagram::unbound()?;
    datagrams.set_nonblocking(true)?;
    datagrams.send_to_addr(format!("{state}\n").as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A notifier that appends its messages to `sent`.
    fn notifier(
        sent: &mut Vec<String>,
        watchdog: Option<Duration>,
    ) -> Notifier<impl FnMut(&NotifyState<'_>) -> io::Result<()>> {
        let send = |state: &NotifyState<'_>| {
            sent.push(state.to_string());
            Ok(())
        };
        Notifier::new(send, watchdog)
    }

    #[test]
    fn ready_is_sent_once_and_status_on_change() {
        let mut sent = Vec::new();
        let mut notifier = notifier(&mut sent, None);
        assert!(!notifier.is_ready());
        notifier.status("one");
        notifier.ready();
        notifier.status("one");
        notifier.ready();
        notifier.status("a\nREADY=0\u{7f}");
        notifier.stopping();
        assert!(notifier.is_ready());
        drop(notifier);
        assert_eq!(sent, ["STATUS=one", "READY=1", r"STATUS=a\u000aREADY=0\u007f", "STOPPING=1"]);
    }

    #[test]
    fn watchdog_ping_is_sent_every_half_interval() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        for (watchdog, expected) in [(Some(Duration::from_secs(30)), 3), (None, 0)] {
            let mut sent = Vec::new();
            let mut notifier = notifier(&mut sent, watchdog);
            for seconds in [0, 1, 14, 15, 16, 29, 31] {
                notifier.watchdog(after(seconds));
            }
            drop(notifier);
            assert_eq!(sent, vec!["WATCHDOG=1"; expected], "{watchdog:?}");
        }
    }

    #[test]
    fn absent_or_stalled_service_manager_blocks_nothing_and_is_retried() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let mut notifier =
            Notifier::new(|state: &NotifyState<'_>| send_to(path.as_os_str(), state), Some(Duration::ZERO));
        notifier.ready();
        notifier.status("one");
        assert!(!notifier.is_ready() && notifier.failed);
        let manager = UnixDatagram::bind(&path).unwrap();
        notifier.ready();
        assert!(notifier.is_ready() && !notifier.failed);
        let mut sent = 0;
        while !notifier.failed {
            notifier.watchdog(Instant::now());
            sent += 1;
            assert!(sent < 100_000, "the queue is never full");
        }
        notifier.status("one");
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"READY=1\n");
        notifier.status("one");
        assert!(!notifier.failed);
    }

    #[test]
    fn abstract_socket_name_is_accepted() {
        let name = format!("firewall-agent-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send_to(OsStr::new(&format!("@{name}")), &NotifyState::Stopping).unwrap();
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"STOPPING=1\n");
    }
}
