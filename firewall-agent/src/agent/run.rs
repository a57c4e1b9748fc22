//! The loop: what makes the agent look, and what it then does.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tracing::{error, info, warn};

use super::control::{self, Request, Verb};
use super::intake::Intake;
use super::{Agent, uptime, web};
use crate::bpf::LinkEvents;
use crate::files::scan::scan;
use crate::files::watch::{Change, Watcher};

/// Longest time between two looks at expiry and unfinished work.
const TICK: Duration = Duration::from_secs(1);
/// After an event that a writer causes in the middle of its work: the rest is awaited.
const QUIET: Duration = Duration::from_millis(20);
/// The time that expiry has reached is kept at least this often.
const KEEP_TIME: SignedDuration = SignedDuration::from_mins(1);

impl Agent {
    /// Runs until SIGTERM or SIGINT, and leaves everything filtering.
    ///
    /// # Errors
    /// When signals, file events, interface events or verbs cannot be received, or no thread is to be had for HTTP.
    pub async fn run(mut self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be received")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be received")?;
        let ranges_dir: PathBuf = self.config.managed_ranges.parent().map(Into::into).unwrap_or_default();
        let mut watcher = Watcher::new(&[self.config.rules_dir.clone(), ranges_dir])?;
        let mut interfaces = LinkEvents::new()?;
        web::serve(&self.config, &self.board)?;
        let mut control = control::listen(&self.config.control_socket);
        // Whatever changed before anything was watched.
        self.look_after(Instant::now());
        self.rescan();
        // A moment, not a pause: events that keep coming may not put it off.
        let mut tick = tokio::time::Instant::now();
        loop {
            self.probes.settle(&self.host.live, &self.config.bpffs_dir);
            self.write_status();
            self.board.tick();
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                changed = interfaces.changed() => {
                    changed?;
                    self.interfaces.changed();
                    self.look_at_interfaces(Instant::now());
                }
                change = watcher.changed() => {
                    if change == Change::Soon {
                        tokio::time::sleep(QUIET).await;
                    }
                    self.rescan();
                }
                () = self.telling.pause() => {
                    self.telling.tell();
                }
                request = next(&mut control) => self.answer(request).await,
                () = tokio::time::sleep_until(tick) => {
                    self.tick();
                    tick = tokio::time::Instant::now() + self.until_tick();
                }
            }
        }
        self.host.keep_time(self.clock.now());
        info!("stopping: everything stays attached and in force");
        Ok(())
    }

    /// Not later than the next expiry or the next look at the kernel.
    fn until_tick(&self) -> Duration {
        let expiry = self.next_expiry.map(|at| at.duration_since(self.clock.now()));
        let expiry = expiry.and_then(|left| Duration::try_from(left).ok()).unwrap_or(TICK);
        let look = self.config.drift_interval.saturating_sub(self.looked_after.elapsed());
        expiry.min(look).min(TICK)
    }

    fn tick(&mut self) {
        self.telling.end_in_time(&mut self.programs, &self.pins);
        if self.looked_after.elapsed() >= self.config.drift_interval {
            self.look_after(Instant::now());
        }
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
    pub(super) fn time(&mut self) -> Timestamp {
        let now = uptime().unwrap_or(self.ticked);
        let elapsed = SignedDuration::try_from(now.saturating_sub(self.ticked)).unwrap_or_default();
        self.ticked = now;
        self.clock.tick(Timestamp::now(), elapsed)
    }

    /// Looks at the files, and publishes when they, or the time, say something new.
    pub(super) fn rescan(&mut self) {
        self.scanned = Instant::now();
        let (now, seen) = (self.time(), Timestamp::now());
        let snapshot = scan(&self.config.rules_dir, &self.config.managed_ranges, self.trust.is_needed());
        let expired = self.next_expiry.is_some_and(|at| at <= now);
        if self.snapshot.as_ref() == Some(&snapshot) && !expired && !self.unfinished {
            return;
        }
        if self.unfinished
            && let Err(error) = self.host.reread()
        {
            // After a refused write the kernel may hold something else than was noted. What is new waits all the same.
            let limits = self.config.limits();
            let intake = Intake::read(&snapshot, &self.config.managed_ranges, &limits, &mut self.trust);
            let admission = self.host.taken.judge(intake.candidates, &self.host.live);
            self.journal.detected(&admission.admitted, seen);
            return error!(error = format!("{error:#}"), "nothing can be published");
        }
        let mut intake =
            Intake::read(&snapshot, &self.config.managed_ranges, &self.config.limits(), &mut self.trust);
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
        let applied = published.applied.keys().filter_map(|id| self.host.live.slot(id));
        self.probes.expect(applied);
    }

    async fn answer(&mut self, request: Request) {
        let done = match &request.verb {
            Verb::Forget { database, open } => self.host.forget(database, *open),
            Verb::Rebase { database } => self.host.rebase(database),
            // Over the maps that are in force: their pins may just have been removed.
            Verb::PacketLog { seconds } => {
                self.pin_again().and_then(|_| self.telling.turn(*seconds, &mut self.programs, &self.pins))
            }
            Verb::Detach => self.detach(),
            Verb::Attach => self.attach(),
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
}

/// Waits for ever without a socket.
async fn next(control: &mut Option<Receiver<Request>>) -> Request {
    let request = match control {
        Some(control) => control.recv().await,
        None => None,
    };
    match request {
        Some(request) => request,
        None => std::future::pending().await,
    }
}
