//! A steady stream of numbered datagrams from one source, matched with those that reach the socket.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::files::{PORT, PROBE, SERVER};
use crate::lab::Host;

/// Pause between two datagrams: the resolution of a measured time, as long as the sender is scheduled.
const PAUSE: Duration = Duration::from_micros(200);
/// A verdict is final once it has not changed for this long.
pub const STEADY: Duration = Duration::from_millis(40);
/// Longer than any push may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Prober {
    source: UdpSocket,
    target: UdpSocket,
    /// The number of the next datagram.
    next: u64,
}

impl Prober {
    pub fn new(clients: &Host, db: &Host) -> Result<Self> {
        let server = SocketAddr::from((SERVER, PORT));
        let target = {
            let _inside = db.enter()?;
            UdpSocket::bind(server).context("db: no socket")?
        };
        target.set_nonblocking(true)?;
        let _inside = clients.enter()?;
        let source = UdpSocket::bind((PROBE, 0)).context("clients: no socket")?;
        source.connect(server)?;
        Ok(Self { source, target, next: 0 })
    }

    /// Sends until the verdict is `is_allowed` and final; returns the time from `since` to the sending of the first
    /// datagram with that verdict.
    pub fn until(&mut self, is_allowed: bool, since: Instant) -> Result<Duration> {
        let begin = self.next;
        let mut sent: Vec<Duration> = Vec::new();
        let (mut arrived, mut first, mut behind_last) = (0, None, 0);
        loop {
            self.source.send(&self.next.to_be_bytes()).context("datagram: not sent")?;
            sent.push(since.elapsed());
            self.next += 1;
            sleep(PAUSE);
            while let Some(number) = self.arrival()? {
                // Datagrams that an earlier push let pass may arrive late.
                let Some(index) = number.checked_sub(begin) else { continue };
                arrived += 1;
                first.get_or_insert(index);
                behind_last = index + 1;
            }
            let changed = if is_allowed { first } else { Some(behind_last) };
            let changed_at = changed.and_then(|index| sent.get(usize::try_from(index).ok()?).copied());
            let now = since.elapsed();
            match changed_at {
                Some(at) if now.saturating_sub(at) >= STEADY => {
                    let passed = behind_last - first.unwrap_or(behind_last);
                    ensure!(arrived == passed, "{} datagrams lost in between", passed - arrived);
                    return Ok(at);
                }
                _ => ensure!(now < PATIENCE, "{PROBE}: verdict unchanged after {} s", PATIENCE.as_secs()),
            }
        }
    }

    fn arrival(&self) -> Result<Option<u64>> {
        let mut number = [0; 8];
        match self.target.recv(&mut number) {
            Ok(_) => Ok(Some(u64::from_be_bytes(number))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("datagram: not received"),
        }
    }
}
