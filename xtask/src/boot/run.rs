//! One run of a release: a guest, traffic, and checked steps.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::arrivals::Arrivals;
use super::disk::Disks;
use super::guest::Guest;
use super::network::Network;
use super::packages::Packages;
use super::record::{Boot, Expected, Record, Step};
use super::release::Release;
use super::timeline::Timeline;
use super::traffic::{Sent, Traffic};
use crate::run::say;

/// The real-time clock of a guest with the right time.
pub const NOW: &str = "utc";
/// Parameter of the kernel that keeps the network card's driver away until a command loads it.
const NO_DRIVER: &str = "modprobe.blacklist=virtio_net";
/// Bound for the arrival of packets that must arrive.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(300);
/// Packets of the denied source that must follow a step, so that the step's effect is seen.
const FOLLOWING: Sent = Sent { datagrams: 400, connects: 12, connected: 0 };

#[derive(Debug)]
pub struct Run<'a> {
    pub release: &'static Release,
    pub packages: &'a Packages,
    pub disks: Disks,
    pub dir: PathBuf,
    /// The project's root directory.
    pub root: PathBuf,
    pub record: Record,
    guest: Option<Guest>,
    traffic: Traffic,
    network: Network,
}

impl<'a> Run<'a> {
    pub fn new(
        release: &'static Release,
        packages: &'a Packages,
        disks: Disks,
        dir: PathBuf,
        root: PathBuf,
    ) -> Result<Self> {
        let network = Network::new()?;
        let traffic = Traffic::start(&network)?;
        let record = Record::new(release);
        Ok(Self { release, packages, disks, dir, root, record, guest: None, traffic, network })
    }

    pub fn guest(&mut self) -> Result<&mut Guest> {
        self.guest.as_mut().context("guest: not running")
    }

    /// Boots the guest, with traffic from before its start, and checks the boot as a step.
    ///
    /// # Errors
    /// The guest does not boot; other failures belong to the step.
    pub fn boot(
        &mut self,
        name: &str,
        expected: Expected,
        clock: &str,
        check: impl FnOnce(&mut Self) -> Result<String>,
    ) -> Result<()> {
        if let Some(guest) = self.guest.take() {
            guest.power_off()?;
        }
        self.boot_again(name, expected, clock, check)
    }

    /// As `boot`, after a power cut.
    pub fn boot_after_power_cut(
        &mut self,
        name: &str,
        check: impl FnOnce(&mut Self) -> Result<String>,
    ) -> Result<()> {
        drop(self.guest.take());
        self.boot_again(name, Expected::Closed, NOW, check)
    }

    fn boot_again(
        &mut self,
        name: &str,
        expected: Expected,
        clock: &str,
        check: impl FnOnce(&mut Self) -> Result<String>,
    ) -> Result<()> {
        say(format_args!("boot: {}: {name}", self.release.name));
        let (began, sent) = (Instant::now(), self.traffic.sent());
        let mut guest = Guest::start(&self.network, &self.disks, &self.dir, clock, "")?;
        // The answer is `degraded` where a unit has failed; the steps check the units that matter.
        guest.run("systemctl is-system-running --wait")?;
        let took = guest.age();
        self.record.kernel = guest.read("uname -r")?;
        self.record.systemd = guest.read("systemctl --version | head -1")?;
        self.guest = Some(guest);
        let checked = |run: &mut Self| {
            if expected == Expected::Open {
                return check(run);
            }
            let arrivals = run.friend_after(&Arrivals::default())?;
            let networking = run.release.networking;
            let timeline = Timeline::read(run.guest()?, networking, &arrivals)?;
            let (lead, order) = (timeline.lead(), timeline.ensure_order());
            run.record.boots.push(Boot { name: name.to_owned(), timeline, took });
            order?;
            let more = check(run)?;
            Ok(format!("attached {lead:.1} s before the network started{more}"))
        };
        let outcome = checked(self);
        self.conclude(name, expected, (began, sent, Arrivals::default()), outcome)
    }

    /// Boots the guest without its network card, which follows with the driver.
    ///
    /// # Errors
    /// The guest does not boot.
    pub fn boot_without_card(&mut self) -> Result<()> {
        self.guest.take().map_or(Ok(()), Guest::power_off)?;
        let mut guest = Guest::start(&self.network, &self.disks, &self.dir, NOW, NO_DRIVER)?;
        guest.run("systemctl is-system-running --wait")?;
        self.guest = Some(guest);
        Ok(())
    }

    /// Performs a step on the running guest, then requires that allowed packets arrive and denied ones are as expected.
    ///
    /// # Errors
    /// The guest does not answer; other failures belong to the step.
    pub fn step(&mut self, name: &str, perform: impl FnOnce(&mut Guest) -> Result<String>) -> Result<()> {
        say(format_args!("boot: {}: {name}", self.release.name));
        let before = Arrivals::read(self.guest()?)?;
        let (began, sent) = (Instant::now(), self.traffic.sent());
        let outcome = perform(self.guest()?).and_then(|note| {
            let performed = Arrivals::read(self.guest()?)?;
            self.friend_after(&performed)?;
            Ok(note)
        });
        self.conclude(name, Expected::Closed, (began, sent, before), outcome)
    }

    /// Waits until the allowed source gets in by both protocols after `before`.
    fn friend_after(&mut self, before: &Arrivals) -> Result<Arrivals> {
        let began = Instant::now();
        loop {
            let now = Arrivals::read(self.guest()?)?;
            if now.friend_datagrams > before.friend_datagrams
                && now.friend_connections > before.friend_connections
            {
                return Ok(now);
            }
            ensure!(began.elapsed() < PATIENCE, "allowed source: {now:?} after {before:?}, must get in");
            sleep(POLL);
        }
    }

    /// Lets the denied source continue for a while, then records the step.
    fn conclude(
        &mut self,
        name: &str,
        expected: Expected,
        (began, sent, before): (Instant, Sent, Arrivals),
        outcome: Result<String>,
    ) -> Result<()> {
        let following = self.traffic.sent();
        loop {
            let Sent { datagrams, connects, .. } = self.traffic.sent().since(following);
            if datagrams >= FOLLOWING.datagrams && connects >= FOLLOWING.connects {
                break;
            }
            sleep(POLL);
        }
        let (now, sent) = (Arrivals::read(self.guest()?)?, self.traffic.sent().since(sent));
        let entered = (now.strange() - before.strange()).max(sent.connected);
        let allowed = now.friend_datagrams + now.friend_connections
            - before.friend_datagrams
            - before.friend_connections;
        let outcome = outcome.and_then(|note| {
            match expected {
                Expected::Closed => ensure!(
                    entered == 0,
                    "denied source: {entered} packets or connections got in, the first {:?} s after the start of \
                     the kernel, must be 0",
                    now.first_stranger
                ),
                Expected::Open if now.stranger_ipv6 == 0 || now.stranger_ipv6 == now.stranger_datagrams => {
                    bail!("control: {now:?}, the denied source must get in by IPv4 and IPv6")
                }
                Expected::Open => {}
            }
            Ok(note)
        });
        let (note, failure) = match outcome {
            Ok(note) => (note, None),
            Err(error) => (String::new(), Some(format!("{error:#}"))),
        };
        let took = began.elapsed();
        match &failure {
            Some(failure) => say(format_args!("  failed: {failure}")),
            None => say(format_args!(
                "  {} s, denied: {} datagrams and {} connects sent, {entered} in; allowed: {allowed} in; {note}",
                took.as_secs(),
                sent.datagrams,
                sent.connects
            )),
        }
        let name = name.to_owned();
        self.record.steps.push(Step { name, expected, sent, entered, allowed, took, note, failure });
        Ok(())
    }

    /// Performs all steps and ends the guest.
    pub fn record(mut self) -> Record {
        let performed = self.perform().and_then(|()| self.guest.take().map_or(Ok(()), Guest::power_off));
        self.record.broken = performed.err().map(|error| format!("{error:#}"));
        self.record
    }
}
