//! The event loop: all triggers of the agent.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::control::{self, Request, Verb};
use super::reconcile::VERB_PATIENCE;
use super::{AccessChange, Agent, DeniedHistory, web};
use crate::files::file_events::FileEvents;
use crate::files::read_cache::Reading;
use crate::files::watch::{Change, WatchedDir};
use crate::host::Notifier;
use crate::host::allocator::trim;
use crate::host::netlink::LinkEvents;
use crate::status::{Condition, event};
use crate::sync::StateStore as _;

/// Longest time between two checks of expiry and unfinished work.
const TICK: Duration = Duration::from_secs(1);
/// Delay after an event that a writer causes in the middle of its work.
const QUIET: Duration = Duration::from_millis(20);
/// Longest wait for the last status when the process ends.
const LEAVE: Duration = Duration::from_secs(1);

/// Signals with a meaning for the daemon. One that arrives before the event loop waits for it.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Starts to receive the signals, in the context of a tokio runtime.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn receive() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot receive SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot receive SIGINT")?,
            hangup: signal(SignalKind::hangup()).context("cannot receive SIGHUP")?,
        })
    }
}

impl Agent {
    /// Runs until SIGTERM or SIGINT, and leaves all programs attached. SIGHUP rescans.
    ///
    /// # Errors
    /// File events, interface events or verbs cannot be received, or a thread cannot be started.
    pub async fn run(mut self, mut signals: Signals) -> Result<()> {
        let ranges = [&self.config.managed_ranges].into_iter().chain(&self.config.blocked_ranges);
        let dirs = ranges.map(|file| WatchedDir::of_file(file));
        let mut events = FileEvents::start(dirs.chain([WatchedDir::all(&self.config.rules_dir)]).collect())?;
        let mut interfaces = LinkEvents::new()?;
        if let Some(kernel) = self.counters.take() {
            web::serve(&self.config, kernel, &self.shared)?;
        }
        let mut notifier = Notifier::from_environment();
        let mut control = control::listen(&self.config.control_socket);
        let committed = self.reconciler.store.committed();
        self.start_session_reset()?;
        self.denied_history = Some(DeniedHistory::start(&self.config, self.reconciler.clock.now())?);
        // Changes from before the watches existed.
        self.check_drift(Instant::now());
        self.rescan(Reading::Changed);
        // A deadline, not a pause: continuous events must not postpone it.
        let mut tick = tokio::time::Instant::now();
        // A new or written file is read once its writer is done, or after a short delay.
        let mut quiet: Option<tokio::time::Instant> = None;
        // An event of the files changes nothing but the time of the next scan.
        let mut is_reported = false;
        loop {
            if !is_reported {
                self.probes.probe_published(&self.reconciler.live, &self.config.bpffs_dir);
                let conditions = &mut self.reporter.conditions;
                conditions.set(Condition::FileEvents, events.problem());
                conditions.set(Condition::ControlSocket, control.problem());
                self.write_status();
                self.reply_when_stored().await;
                self.shared.tick();
                self.notify(&mut notifier);
            }
            is_reported = false;
            tokio::select! {
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hangup.recv() => {
                    info!("SIGHUP: rescan");
                    self.rescan(Reading::All);
                }
                changed = interfaces.changed() => {
                    changed?;
                    self.interfaces.changed();
                    self.attach_interfaces(Instant::now());
                }
                change = events.changed() => {
                    is_reported = true;
                    match change {
                        Change::Now => {
                            quiet = None;
                            self.rescan(Reading::Changed);
                        }
                        Change::Soon => {
                            quiet.get_or_insert_with(|| tokio::time::Instant::now() + QUIET);
                        }
                    }
                }
                () = until(quiet) => {
                    quiet = None;
                    self.rescan(Reading::Changed);
                }
                snapshot = self.reader.snapshot() => {
                    self.reconcile(Some(&snapshot));
                    tick = tokio::time::Instant::now() + self.until_tick();
                }
                () = committed.notified() => self.reconcile(None),
                () = self.packet_log.pause() => self.packet_log.log_messages(),
                request = control.next() => self.answer(request).await,
                () = tokio::time::sleep_until(tick) => {
                    self.tick();
                    tick = tokio::time::Instant::now() + self.until_tick();
                }
            }
        }
        notifier.stopping();
        self.reconciler.store_clock(true);
        self.reconciler.read_hits(true);
        self.reporter.flush(LEAVE);
        info!(event = event::STOPPED, "stopping: everything stays attached and in force");
        Ok(())
    }

    /// Time until the next expiry or drift check.
    fn until_tick(&self) -> Duration {
        let expiry = self.reconciler.next_expiry.map(|at| at.duration_since(self.reconciler.clock.now()));
        let expiry = expiry.and_then(|left| Duration::try_from(left).ok()).unwrap_or(TICK);
        expiry.min(self.until_check()).min(TICK)
    }

    /// Time until the next drift check. Files that are being read go first, for one interval at most: with many databases
    /// a check takes longer than a change.
    fn until_check(&self) -> Duration {
        let interval = self.config.drift_interval;
        let interval = if self.reader.busy_for().is_some() { 2 * interval } else { interval };
        interval.saturating_sub(self.checked_at.elapsed())
    }

    fn tick(&mut self) {
        self.packet_log.end_in_time(&mut self.programs, &self.pins);
        if self.until_check().is_zero() {
            self.check_drift(Instant::now());
        }
        if self.scanned.elapsed() >= self.config.rescan_interval {
            self.rescan(Reading::All);
        } else if self.reconciler.wants_files {
            self.rescan(Reading::Changed);
        }
        self.reconcile(None);
        self.reconciler.store_clock(false);
        self.reconciler.read_hits(false);
        if std::mem::take(&mut self.has_garbage) {
            trim();
        }
        if let Some(history) = &self.denied_history {
            history.set_time(self.reconciler.clock.now());
        }
    }

    /// Replies to the verbs whose changes are durable, and, after a while, to the others.
    async fn reply_when_stored(&mut self) {
        if self.unstored.is_empty() {
            return;
        }
        let is_stored = self.reconciler.store.flush(Duration::ZERO);
        let is_due = |one: &mut DoneRequest| is_stored || one.until <= Instant::now();
        for DoneRequest { request, done, .. } in self.unstored.extract_if(.., is_due).collect::<Vec<_>>() {
            let reply =
                if is_stored { Ok(done) } else { Err(anyhow!("{done}\n{}", self.reconciler.unstored())) };
            request.reply(reply.into()).await;
        }
    }

    async fn answer(&mut self, request: Request) {
        self.suspend_session_reset();
        let done = match &request.verb {
            Verb::Forget { database, open } => self.reconciler.forget(database, *open),
            Verb::Rebase { database } => self.reconciler.rebase(database),
            // Works on the maps in force: their pins may just have been removed.
            Verb::PacketLog { seconds } => self
                .restore_pins()
                .and_then(|_| self.packet_log.switch(*seconds, &mut self.programs, &self.pins)),
            Verb::LowerClock { to } => self.reconciler.lower_clock(*to),
            Verb::AddOverlay { action, expiry, note } => {
                self.reconciler.add_overlay(action.clone(), *expiry, note.clone())
            }
            Verb::DropOverlay { entries } => self.reconciler.drop_overlay(entries),
            Verb::AcknowledgeRanges {} => self.reconciler.acknowledge_ranges(),
            Verb::Detach {} => self.detach(),
            Verb::Attach {} => self.attach(),
        };
        match &done {
            Ok(done) => info!(done, event = event::COMMAND, "control request done"),
            Err(error) => {
                warn!(error = format!("{error:#}"), event = event::COMMAND, "control request failed");
            }
        }
        if matches!(request.verb, Verb::Detach {} | Verb::Attach {}) {
            self.resume_session_reset(AccessChange::ALL);
        }
        match done {
            Ok(done) => {
                self.unstored.push(DoneRequest { request, done, until: Instant::now() + VERB_PATIENCE })
            }
            Err(error) => request.reply(Err(error).into()).await,
        }
        // Reads the files again in any case.
        self.reconciler.force();
        self.reconcile(None);
        self.rescan(Reading::All);
    }
}

/// A verb that is done, and whose changes may not be durable yet.
#[derive(Debug)]
pub(super) struct DoneRequest {
    request: Request,
    done: String,
    until: Instant,
}

/// Waits until a deadline; forever without one.
async fn until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
