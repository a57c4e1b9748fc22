//! Packets to the protected port, from an allowed and a denied source, without a pause.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_tests::lab::Host;

use super::network::{GUEST, Network, PORT};

/// A connection that is not established after this time counts as refused.
const CONNECTED: Duration = Duration::from_millis(500);
/// Pauses between two packets or connections of one thread.
const FRIENDLY: Duration = Duration::from_millis(25);
const STRANGE: Duration = Duration::from_millis(5);
/// Threads that connect from the denied source: a refused attempt takes [`CONNECTED`].
const CONNECTORS: usize = 6;

/// Senders, until dropped.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    counters: Arc<Counters>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counters {
    datagrams: AtomicU64,
    connects: AtomicU64,
    connected: AtomicU64,
}

/// Totals of the denied source.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Datagrams to the guest's IPv4 address and to its link-local address.
    pub datagrams: u64,
    /// Ended attempts to connect.
    pub connects: u64,
    pub connected: u64,
}

impl Sent {
    /// Returns the part after an earlier total.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            datagrams: self.datagrams - earlier.datagrams,
            connects: self.connects - earlier.connects,
            connected: self.connected - earlier.connected,
        }
    }
}

impl Traffic {
    pub fn start(network: &Network) -> Result<Self> {
        let to = format!("{GUEST}:{PORT}").parse::<SocketAddr>()?;
        let mut traffic = Self { stop: Arc::default(), counters: Arc::default(), threads: Vec::new() };
        let uncounted = Arc::new(Counters::default());
        traffic.send(&network.friend, to, FRIENDLY, &uncounted)?;
        traffic.connect(&network.friend, to, FRIENDLY, &uncounted)?;
        let counters = Arc::clone(&traffic.counters);
        for to in [to, network.link_local()?] {
            traffic.send(&network.stranger, to, STRANGE, &counters)?;
        }
        for _ in 0..CONNECTORS {
            traffic.connect(&network.stranger, to, STRANGE, &counters)?;
        }
        Ok(traffic)
    }

    pub fn sent(&self) -> Sent {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { datagrams, connects, connected } = &*self.counters;
        Sent { datagrams: of(datagrams), connects: of(connects), connected: of(connected) }
    }

    /// Starts a sender of datagrams.
    fn send(&mut self, from: &Host, to: SocketAddr, pause: Duration, counters: &Arc<Counters>) -> Result<()> {
        let socket = from.udp(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        let counters = Arc::clone(counters);
        self.repeat(pause, move || {
            // A full queue of the bridge, or a port that is not open yet: the next datagram follows.
            let sent = socket.send_to(b"boot", to).is_ok();
            counters.datagrams.fetch_add(u64::from(sent), Ordering::Relaxed);
        })
    }

    /// Starts a sender of TCP connections.
    fn connect(
        &mut self,
        from: &Host,
        to: SocketAddr,
        pause: Duration,
        counters: &Arc<Counters>,
    ) -> Result<()> {
        let (from, counters) = (from.clone(), Arc::clone(counters));
        self.repeat(pause, move || {
            let connected = from.connect(to, CONNECTED).is_ok();
            counters.connected.fetch_add(u64::from(connected), Ordering::Relaxed);
            counters.connects.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn repeat(&mut self, pause: Duration, mut once: impl FnMut() + Send + 'static) -> Result<()> {
        let stop = Arc::clone(&self.stop);
        let repeated = move || {
            while !stop.load(Ordering::Relaxed) {
                once();
                sleep(pause);
            }
        };
        self.threads.push(thread::Builder::new().spawn(repeated).context("traffic: no thread")?);
        Ok(())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
