//! A flood from strangers to the same endpoint, from the clients' side of the wire.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use firewall_tests::lab::Host;
use firewall_tests::packets::frame;
use nix::net::if_::if_nametoindex;

use super::{FLOOD, SECONDS};
use crate::rules::{ADDRESS4, Bench, PORT, STRANGER4};
use crate::run::Pinned;

/// Packets per system call; the kernel needs some milliseconds to start each call.
const BURST: u32 = 15_000;

pub struct Flood {
    program: Pinned,
    frame: Vec<u8>,
    host: Host,
    interface: u32,
}

impl Flood {
    pub fn new(bench: &Bench, host: &Host, to: [u8; 6]) -> Result<Self> {
        let frame = frame().to(to).ipv4(STRANGER4, ADDRESS4).tcp(40_000, PORT).build();
        let inside = host.enter()?;
        let interface = if_nametoindex("eth0").context("eth0")?;
        drop(inside);
        Ok(Self { program: bench.program("new_source_send"), frame, host: host.clone(), interface })
    }

    /// Floods while `act` runs.
    pub fn during<T>(&self, act: impl FnOnce() -> T) -> Result<T> {
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let done = scope(|threads| -> Result<T> {
            let flooding = threads.spawn(|| self.send(&stop, &sent));
            let done = act();
            stop.store(true, Ordering::Relaxed);
            flooding.join().unwrap()?;
            Ok(done)
        })?;
        let least = u64::from(FLOOD) * u64::from(SECONDS) / 2;
        let sent = sent.load(Ordering::Relaxed);
        ensure!(sent >= least, "flood: only {sent} packets were sent, not {least}");
        Ok(done)
    }

    fn send(&self, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
        let _inside = self.host.enter()?;
        let (started, mut count) = (Instant::now(), 0u64);
        while !stop.load(Ordering::Relaxed) {
            self.program.receive(&self.frame, BURST, self.interface).context("flood: not sent")?;
            count += u64::from(BURST);
            sent.store(count, Ordering::Relaxed);
            let due = Duration::from_secs_f64(count as f64 / f64::from(FLOOD));
            sleep(due.saturating_sub(started.elapsed()));
        }
        Ok(())
    }
}
