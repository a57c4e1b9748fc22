//! A steady stream of numbered datagrams from allowed and denied sources, counted at the socket.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use firewall_tests::lab::{TestHost, eventually};
use nix::sys::socket::{setsockopt, sockopt};

use crate::setup::{ALLOWED, DENIED, PORT, SERVERS};

/// Interval of the rounds of four datagrams, one from each source: about 20,000 datagrams a second on an idle machine.
const PAUSE: Duration = Duration::from_micros(130);
/// Maximum number of allowed datagrams in flight: far fewer than a veth's queue of 256, so that a lost one was denied
/// and did not overflow the queue.
const WINDOW: u64 = 64;
/// Time that the sender waits for room before it counts missing datagrams as lost.
const PATIENCE: Duration = Duration::from_millis(500);
/// Silence after which no datagram is in flight if every allowed one has arrived.
const GRACE: Duration = Duration::from_millis(300);
/// Silence after which an allowed datagram is lost: an emulated machine stands still for longer than [`GRACE`] when its
/// host is busy.
const LOST: Duration = Duration::from_secs(5);
const RECEIVE_BUFFER: usize = 64 << 20;

pub struct Traffic {
    stop: Arc<AtomicBool>,
    /// The sender has ended.
    ended: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    sender: JoinHandle<()>,
    receiver: JoinHandle<Arrived>,
}

/// The result of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Datagrams from each of the four sources.
    pub rounds: u64,
    /// Datagrams from an allowed source that did not reach the socket.
    pub lost: u64,
    /// Datagrams from a denied source that reached the socket.
    pub leaked: u64,
    /// The last round with a leaked datagram.
    pub last_leak: Option<u64>,
}

#[derive(Default)]
struct Arrived {
    allowed: BTreeSet<(u8, u64)>,
    denied: BTreeSet<(u8, u64)>,
}

impl Traffic {
    pub fn start(host: &TestHost) -> Self {
        let target = host.db.udp(("::", PORT)).unwrap();
        setsockopt(&target, sockopt::RcvBufForce, &RECEIVE_BUFFER).unwrap();
        target.set_read_timeout(Some(GRACE)).unwrap();
        let pairs = [ALLOWED, DENIED].into_iter().flat_map(|sources| sources.into_iter().zip(SERVERS));
        let connected = |(source, server)| {
            let socket = host.outside.udp((source, 0)).unwrap();
            socket.connect((server, PORT)).unwrap();
            socket
        };
        let sources: Vec<UdpSocket> = pairs.map(connected).collect();
        let [stop, ended] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let [sent, arrived] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let sender = {
            let (stop, sent, arrived) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&arrived));
            thread::spawn(move || send(&sources, &stop, &sent, &arrived))
        };
        let receiver = {
            let (ended, sent) = (Arc::clone(&ended), Arc::clone(&sent));
            thread::spawn(move || receive(&target, &ended, &sent, &arrived))
        };
        Self { stop, ended, sent, sender, receiver }
    }

    /// Returns a round that has not started yet.
    pub fn next_round(&self) -> u64 {
        self.sent.load(Ordering::SeqCst) + 1
    }

    /// Waits for `time`, and until `rounds` more rounds are sent, however slow the machine.
    pub fn flow(&self, time: Duration, rounds: u64) {
        let enough = self.next_round() + rounds;
        thread::sleep(time);
        eventually(Duration::from_secs(10), "the stream flows", || {
            (self.next_round() >= enough).then_some(())
        })
        .unwrap();
    }

    /// Waits for `time` and ends the stream.
    pub fn end_after(self, time: Duration) -> Count {
        thread::sleep(time);
        self.stop.store(true, Ordering::Relaxed);
        self.sender.join().unwrap();
        self.ended.store(true, Ordering::SeqCst);
        let rounds = self.sent.load(Ordering::SeqCst);
        let arrived = self.receiver.join().unwrap();
        Count {
            rounds,
            lost: rounds * ALLOWED.len() as u64 - arrived.allowed.len() as u64,
            leaked: arrived.denied.len() as u64,
            last_leak: arrived.denied.iter().map(|(_, round)| *round).max(),
        }
    }
}

/// Sends rounds of one datagram from each source until `stop`, and counts them.
fn send(sources: &[UdpSocket], stop: &AtomicBool, sent: &AtomicU64, arrived: &AtomicU64) {
    let mut round = 0u64;
    let mut missing = 0;
    while !stop.load(Ordering::Relaxed) {
        for (tag, socket) in (0u8..).zip(sources) {
            let mut datagram = [0; 9];
            datagram[0] = tag;
            datagram[1..].copy_from_slice(&round.to_be_bytes());
            socket.send(&datagram).unwrap();
        }
        round += 1;
        sent.store(round, Ordering::SeqCst);
        thread::sleep(PAUSE);
        let under_way = || round * ALLOWED.len() as u64 - arrived.load(Ordering::Relaxed);
        let since = Instant::now();
        while under_way() > missing + WINDOW {
            thread::sleep(PAUSE);
            if since.elapsed() > PATIENCE {
                missing = under_way();
            }
        }
    }
}

/// Collects datagrams until the sender has ended and a silence: of [`GRACE`], or of [`LOST`] if allowed ones are missing.
fn receive(target: &UdpSocket, ended: &AtomicBool, sent: &AtomicU64, count: &AtomicU64) -> Arrived {
    let mut arrived = Arrived::default();
    let mut silent = Instant::now();
    let mut datagram = [0; 9];
    loop {
        match target.recv(&mut datagram) {
            Ok(_) => {
                silent = Instant::now();
                let number = datagram[1..].try_into().map(u64::from_be_bytes).unwrap();
                if usize::from(datagram[0]) < ALLOWED.len() {
                    arrived.allowed.insert((datagram[0], number));
                    count.fetch_add(1, Ordering::Relaxed);
                } else {
                    arrived.denied.insert((datagram[0], number));
                }
            }
            Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("udp socket: {error}"),
            Err(_) if !ended.load(Ordering::SeqCst) => {}
            Err(_) => {
                let allowed = sent.load(Ordering::SeqCst) * ALLOWED.len() as u64;
                if count.load(Ordering::Relaxed) >= allowed || silent.elapsed() > LOST {
                    return arrived;
                }
            }
        }
    }
}
