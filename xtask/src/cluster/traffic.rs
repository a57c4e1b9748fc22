//! Connections to the guarded port: a database that counts them, an allowed client, and a stranger.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use firewall_tests::lab::Host;

pub const DATABASE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), 5432);
/// The source that the rules allow.
pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 20));
/// A source that no rule allows.
pub const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 200));
/// Less than the second after which TCP repeats a lost packet: a connection that takes longer has lost one.
const ALLOWED: Duration = Duration::from_millis(900);
/// Far longer than a packet needs over veth pairs; short, to notice a short gap.
const DENIED: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_millis(5);
/// Attempts of one question, since a busy machine delays one.
const ATTEMPTS: usize = 20;

/// Times at which the database accepted a connection, by source.
type Accepted = Arc<Mutex<BTreeMap<IpAddr, Vec<Instant>>>>;

/// A server on the node's guarded port that accepts whatever reaches it.
#[derive(Debug)]
pub struct Database {
    accepted: Accepted,
}

impl Database {
    /// Starts the server; it ends with this process.
    pub fn start(node: &Host) -> Result<Self> {
        let listener = node.listen(DATABASE)?;
        let accepted = Accepted::default();
        let into = Arc::clone(&accepted);
        spawn(move || accept(&listener, &into));
        Ok(Self { accepted })
    }

    /// Returns the times at which connections of this source arrived since a time.
    pub fn accepted(&self, source: IpAddr, since: Instant) -> Vec<Instant> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.get(&source).into_iter().flatten().filter(|at| **at >= since).copied().collect()
    }
}

fn accept(listener: &TcpListener, into: &Accepted) {
    loop {
        if let Ok((_, from)) = listener.accept() {
            let mut accepted = into.lock().unwrap_or_else(PoisonError::into_inner);
            accepted.entry(from.ip()).or_default().push(Instant::now());
        }
    }
}

/// Returns whether a host is let in, by one of several attempts.
pub fn is_let_in(from: &Host) -> bool {
    (0..ATTEMPTS).any(|_| gets_in(from))
}

/// As [`is_let_in`], by one attempt: for a caller that repeats the question.
pub fn gets_in(from: &Host) -> bool {
    from.connect(DATABASE, DENIED).is_ok()
}

/// Client and stranger that connect again and again until they are stopped.
#[derive(Debug)]
pub struct Traffic {
    began: Instant,
    ended: Arc<AtomicBool>,
    client: JoinHandle<Vec<Attempt>>,
    stranger: JoinHandle<Vec<Attempt>>,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    at: Instant,
    is_established: bool,
}

/// The result of [`Traffic`].
#[derive(Debug)]
pub struct Tally {
    client: Vec<Attempt>,
    /// Attempts of the stranger.
    pub denied: usize,
    /// Times at which the stranger's connections reached the database.
    pub leaked: Vec<Instant>,
}

impl Traffic {
    pub fn start(client: &Host, stranger: &Host) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let knock = |host: &Host, patience| {
            let (host, ended) = (host.clone(), Arc::clone(&ended));
            spawn(move || {
                let mut attempts = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    let at = Instant::now();
                    attempts.push(Attempt { at, is_established: host.connect(DATABASE, patience).is_ok() });
                    sleep(PAUSE);
                }
                attempts
            })
        };
        let (client, stranger) = (knock(client, ALLOWED), knock(stranger, DENIED));
        Self { began: Instant::now(), ended, client, stranger }
    }

    pub fn stop(self, database: &Database) -> Result<Tally> {
        self.ended.store(true, Ordering::Relaxed);
        let joined = |thread: JoinHandle<_>| thread.join().map_err(|_| anyhow!("traffic: a thread panicked"));
        let (client, stranger) = (joined(self.client)?, joined(self.stranger)?);
        Ok(Tally { client, denied: stranger.len(), leaked: database.accepted(STRANGER, self.began) })
    }
}

impl Tally {
    /// Returns the attempts of the client since a time, and those that lost a packet.
    pub fn allowed(&self, since: Instant) -> (usize, usize) {
        let attempts = || self.client.iter().filter(|attempt| attempt.at >= since);
        (attempts().count(), attempts().filter(|attempt| !attempt.is_established).count())
    }

    /// Returns the time from the stranger's first connection to the last.
    pub fn leaked_for(&self) -> Duration {
        match (self.leaked.first(), self.leaked.last()) {
            (Some(first), Some(last)) => last.duration_since(*first),
            _ => Duration::ZERO,
        }
    }
}
