//! Numbered datagrams from every source to every database, and the memory of those that arrived.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use firewall_tests::lab::{Host, UNPROTECTED};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::Stopper;
use crate::expectations::Pair;
use crate::files::{DATABASES, SERVER4, SERVER6, SOURCES, address, destination, is_ipv6};

/// Number of datagrams whose arrival is remembered: many times those in flight.
const REMEMBERED: usize = 1 << 16;
const RECEIVE_BUFFER: usize = 16 << 20;
/// Time for which a marker may be under way on a busy machine.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// Sockets of the sources, and the numbers of the datagrams that the databases received.
pub struct Sockets {
    sources: Vec<UdpSocket>,
    next: AtomicU64,
    arrived: Vec<AtomicU64>,
    /// Complete passes of the receiver over its sockets.
    passes: AtomicU64,
}

/// The receiving side.
pub struct Receiver {
    /// The markers' sockets, then one for each database.
    targets: Vec<UdpSocket>,
}

impl Sockets {
    pub fn open(outside: &Host) -> Result<Self> {
        let open = |database: usize, source: usize| outside.udp((address(source, database), 0));
        let families = (0..2).flat_map(|family| (0..SOURCES).map(move |source| (family, source)));
        let sources = families.map(|(family, source)| open(family, source)).collect::<Result<_>>()?;
        let arrived = (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { sources, next: AtomicU64::new(1), arrived, passes: AtomicU64::new(0) })
    }

    /// Sends a datagram to a database and returns its number; `None` while the network refuses it.
    pub fn send(&self, pair: Pair) -> Option<u64> {
        self.send_to(pair, destination(pair.database))
    }

    fn send_to(&self, pair: Pair, to: SocketAddr) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let socket = &self.sources[pair.database % 2 * SOURCES + pair.source];
        socket.send_to(&number.to_be_bytes(), to).ok().map(|_| number)
    }

    pub fn has_arrived(&self, number: u64) -> bool {
        self.slot(number).load(Ordering::SeqCst) == number
    }

    pub fn passes(&self) -> u64 {
        self.passes.load(Ordering::SeqCst)
    }

    /// Asks the filter by a datagram; `None` if it cannot be told, because the link is down.
    ///
    /// A marker to a port that nothing protects follows on the same path: if it arrives and the datagram has not, the
    /// filter dropped the datagram.
    pub fn passes_filter(&self, pair: Pair) -> Option<bool> {
        let asked = self.send(pair)?;
        let server = if is_ipv6(pair.database) { SERVER6.into() } else { SERVER4.into() };
        let marker = self.send_to(pair, SocketAddr::new(server, UNPROTECTED))?;
        let since = Instant::now();
        while !self.has_arrived(marker) {
            if since.elapsed() > UNDER_WAY {
                return None;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        Some(self.has_arrived(asked))
    }

    fn slot(&self, number: u64) -> &AtomicU64 {
        &self.arrived[number as usize % REMEMBERED]
    }
}

impl Receiver {
    pub fn open(db: &Host) -> Result<Self> {
        let markers = [SocketAddr::from((SERVER4, UNPROTECTED)), SocketAddr::from((SERVER6, UNPROTECTED))];
        let addresses = markers.into_iter().chain((0..DATABASES).map(destination));
        let open = |at: SocketAddr| {
            let socket = db.udp(at)?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        Ok(Self { targets: addresses.map(open).collect::<Result<_>>()? })
    }

    /// Notes arrivals until `stop`.
    pub fn run(&self, sockets: &Sockets, stop: Stopper<'_>) -> Result<()> {
        let mut number = [0; 8];
        while !stop.is_set() {
            let mut ready: Vec<PollFd<'_>> =
                self.targets.iter().map(|target| PollFd::new(target.as_fd(), PollFlags::POLLIN)).collect();
            poll(&mut ready, PollTimeout::from(10u8)).context("poll")?;
            let is_ready: Vec<bool> = ready.iter().map(|one| one.any() == Some(true)).collect();
            // poll looks at the markers first, and they are noted last: a datagram sent before a marker is noted before
            // it.
            for target in self.targets.iter().zip(is_ready).rev().filter_map(|(one, is)| is.then_some(one)) {
                loop {
                    match target.recv(&mut number) {
                        Ok(_) => {
                            let number = u64::from_be_bytes(number);
                            sockets.slot(number).store(number, Ordering::SeqCst);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error).context("a database's socket"),
                    }
                }
            }
            sockets.passes.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}
