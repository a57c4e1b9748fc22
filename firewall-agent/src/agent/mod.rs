//! The loop that joins files, rules, sync and kernel.

mod control;
mod host;
mod intake;
mod interfaces;
mod journal;
mod ledger;
mod report;
mod taken;
mod web;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use self::control::Request;
pub use self::control::{Reply, Verb, ask};
pub use self::host::Host;
use self::intake::Intake;
use self::interfaces::Interfaces;
use self::journal::Journal;
pub use self::report::{counters, report};
pub use self::taken::Taken;
use crate::bpf::{Capacity, Owned, Pins, Probe, Programs};
use crate::config::Config;
use crate::files::lock::Lock;
use crate::files::scan::{Snapshot, scan};
use crate::files::watch::{Change, Watcher};
use crate::http::Board;
use crate::sync::{Clock, DataPlane as _};

/// Time between two looks at interfaces, expiry and unfinished work.
const TICK: Duration = Duration::from_secs(1);
/// After an event that a writer causes in the middle of its work: the rest is awaited.
const QUIET: Duration = Duration::from_millis(20);
/// The time that expiry has reached is kept at least this often.
const KEEP_TIME: SignedDuration = SignedDuration::from_mins(1);

/// The right to change one host's state, on disk and in the kernel.
#[derive(Debug)]
pub struct Ownership {
    _state: Lock,
    _pins: Owned,
}

impl Ownership {
    /// Becomes the only owner.
    ///
    /// # Errors
    /// When another process is it, or the directories are not usable.
    pub fn take(config: &Config) -> Result<Self> {
        let state = Lock::take(&config.state_dir)?;
        let pins = Pins::new(&config.bpffs_dir);
        pins.create()?;
        Ok(Self { _state: state, _pins: pins.own()? })
    }
}

/// The daemon.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    pins: Pins,
    programs: Programs,
    interfaces: Interfaces,
    host: Host,
    clock: Clock,
    /// `CLOCK_BOOTTIME` when the clock last ticked.
    ticked: Duration,
    /// When the time was last kept.
    kept: Timestamp,
    snapshot: Option<Snapshot>,
    scanned: Instant,
    next_expiry: Option<Timestamp>,
    /// The last look did not get everything into the kernel and onto the disk.
    unfinished: bool,
    journal: Journal,
    board: Arc<Board>,
    _ownership: Ownership,
}

impl Agent {
    /// Takes over what is pinned and what is stored, brings the kernel to the files, and then attaches: no packet
    /// meets an empty map.
    ///
    /// # Errors
    /// When another agent runs, a directory or pin is not usable, or the kernel refuses the programs.
    pub fn start(config: Config) -> Result<Self> {
        let ownership = Ownership::take(&config)?;
        let pins = Pins::new(&config.bpffs_dir);
        let programs = Programs::load(&pins, Capacity::for_databases(config.max_databases))?;
        let host = Host::open(&config)?;
        let slots = host.kernel.capacity().0;
        if slots != config.max_databases {
            warn!(slots, config.max_databases, "the pinned maps keep their size until they are made anew");
        }
        let (databases, generation) = (host.live.databases.len(), host.live.generation);
        info!(databases, generation, stored = host.taken.admitted.len(), "programs loaded, state taken over");
        let clock = Clock::new(Timestamp::now(), host.taken.high_water());
        let board = web::serve(&config)?;
        let mut agent = Self {
            interfaces: Interfaces::new(&config.interfaces, config.xdp_mode)?,
            journal: Journal::new(&config, &host, Arc::clone(&board)),
            config,
            pins,
            programs,
            host,
            kept: clock.now(),
            clock,
            ticked: uptime()?,
            snapshot: None,
            scanned: Instant::now(),
            next_expiry: None,
            unfinished: false,
            board,
            _ownership: ownership,
        };
        agent.rescan();
        agent.programs.pin(&agent.pins)?;
        agent.interfaces.attach(&mut agent.programs, &agent.pins);
        agent.write_status();
        Ok(agent)
    }

    /// Runs until SIGTERM or SIGINT, and leaves everything filtering.
    ///
    /// # Errors
    /// When signals, file events or verbs cannot be received.
    pub async fn run(mut self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be received")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be received")?;
        let ranges_dir: PathBuf = self.config.managed_ranges.parent().map(Into::into).unwrap_or_default();
        let mut watcher = Watcher::new(&[self.config.rules_dir.clone(), ranges_dir])?;
        let control = control::listen(&self.config.control_socket);
        // Whatever changed before the watcher was there.
        self.rescan();
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                change = watcher.changed() => {
                    if change == Change::Soon {
                        tokio::time::sleep(QUIET).await;
                    }
                    self.rescan();
                }
                request = next_request(control.as_ref()) => self.answer(request).await,
                () = tokio::time::sleep(self.until_tick()) => self.tick(),
            }
            self.write_status();
            self.board.tick();
        }
        self.host.keep_time(self.clock.now());
        info!("stopping: everything stays attached and in force");
        Ok(())
    }

    /// Not later than the next expiry.
    fn until_tick(&self) -> Duration {
        let expiry = self.next_expiry.map(|at| at.duration_since(self.clock.now()));
        expiry.and_then(|left| Duration::try_from(left).ok()).map_or(TICK, |left| left.min(TICK))
    }

    fn tick(&mut self) {
        self.interfaces.attach(&mut self.programs, &self.pins);
        let expired = self.next_expiry.is_some_and(|at| at <= self.time());
        if expired || self.unfinished || self.scanned.elapsed() >= self.config.rescan_interval {
            self.rescan();
        }
        if self.clock.now().duration_since(self.kept) >= KEEP_TIME {
            self.kept = self.clock.now();
            self.host.keep_time(self.kept);
        }
    }

    /// The time that expiry goes by.
    fn time(&mut self) -> Timestamp {
        let now = uptime().unwrap_or(self.ticked);
        let elapsed = SignedDuration::try_from(now.saturating_sub(self.ticked)).unwrap_or_default();
        self.ticked = now;
        self.clock.tick(Timestamp::now(), elapsed)
    }

    /// Looks at the files, and publishes when they, or the time, say something new.
    fn rescan(&mut self) {
        self.scanned = Instant::now();
        let (now, seen) = (self.time(), Timestamp::now());
        let snapshot = scan(&self.config.rules_dir, &self.config.managed_ranges);
        let expired = self.next_expiry.is_some_and(|at| at <= now);
        if self.snapshot.as_ref() == Some(&snapshot) && !expired && !self.unfinished {
            return;
        }
        if self.unfinished
            && let Err(error) = self.host.reread()
        {
            // After a refused write the kernel may hold something else than was noted. What is new waits all the same.
            let intake = Intake::read(&snapshot, &self.config.managed_ranges, &self.config.limits());
            let admission = self.host.taken.judge(intake.candidates, &self.host.live);
            self.journal.detected(&admission.admitted, seen);
            return error!(error = format!("{error:#}"), "nothing can be published");
        }
        let mut intake = Intake::read(&snapshot, &self.config.managed_ranges, &self.config.limits());
        let times = intake.candidates.iter().map(|candidate| candidate.rules.generated_at);
        times.for_each(|generated_at| self.clock.confirm(generated_at));
        let now = self.time();
        let admission = self.host.admit(intake.candidates, &snapshot);
        let stale = intake.ranges.map(|ranges| self.host.take_ranges(ranges)).unwrap_or_default();
        if !stale.is_empty() {
            intake.refused.entry(self.config.managed_ranges.clone()).or_default().extend(stale);
        }
        self.journal.files(&snapshot, intake.refused, intake.warnings, &admission.refused);

        let desired = self.host.desired(now);
        let published = self.host.publish(&desired, now);
        self.unfinished =
            !published.failed.is_empty() || !published.errors.is_empty() || self.host.is_unstored();
        self.journal.published(&published, &desired, &self.host, (&snapshot, seen));
        self.next_expiry = self.host.taken.next_expiry(now);
        self.snapshot = Some(snapshot);
    }

    async fn answer(&mut self, request: Request) {
        let done = match &request.verb {
            Verb::Forget { database, open } => self.host.forget(database, *open),
            Verb::Rebase { database } => self.host.rebase(database),
        };
        match &done {
            Ok(done) => info!(done, "asked for on the control socket"),
            Err(error) => warn!(error = format!("{error:#}"), "asked for on the control socket"),
        }
        // Whatever became of it, the files are looked at with it.
        self.snapshot = None;
        self.rescan();
        request.reply(done.into()).await;
    }

    fn write_status(&mut self) {
        let kernel = || -> Result<_> {
            let program = Probe::firewall(&self.config.bpffs_dir)?;
            report(&self.pins, &self.host.live, &program)
        };
        let troubles = self.host.troubles.iter().chain(self.interfaces.errors()).cloned();
        // Without the time itself: the status is written whenever it says something new.
        let held = self.clock.held().map(|_| {
            "the clock jumped forward by more than an hour: not believed until a file generated then confirms it".to_owned()
        });
        let troubles: Vec<String> = troubles.chain(held).chain(self.board.unbound()).collect();
        match kernel() {
            Ok(status) => self.journal.write(status, &self.host, troubles),
            Err(error) => self.journal.unknown(&error),
        }
    }
}

/// Waits for ever without a socket.
async fn next_request(control: Option<&UnixListener>) -> Request {
    match control {
        Some(listener) => control::next(listener).await,
        None => std::future::pending().await,
    }
}

/// Time since boot, sleep included: nobody sets it.
fn uptime() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_BOOTTIME).context("the clock cannot be read")?.into())
}
