//! The loop: what makes the agent look, and what it then does.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tracing::{error, info, warn};

use super::control::{self, Request, Verb};
use super::machine::Moment;
use super::{Agent, web};
use crate::bpf::LinkEvents;
use crate::files::watch::{Change, Watcher};

/// Longest time between two looks at expiry and unfinished work.
const TICK: Duration = Duration::from_secs(1);
/// After an event that a writer causes in the middle of its work: the rest is awaited.
const QUIET: Duration = Duration::from_millis(20);

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
            self.probes.settle(&self.keeper.host.live, &self.config.bpffs_dir);
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
        self.keeper.host.keep_time(self.keeper.clock.now());
        info!("stopping: everything stays attached and in force");
        Ok(())
    }

    /// Not later than the next expiry or the next look at the kernel.
    fn until_tick(&self) -> Duration {
        let expiry = self.keeper.next_expiry.map(|at| at.duration_since(self.keeper.clock.now()));
        let expiry = expiry.and_then(|left| Duration::try_from(left).ok()).unwrap_or(TICK);
        let look = self.config.drift_interval.saturating_sub(self.looked_after.elapsed());
        expiry.min(look).min(TICK)
    }

    fn tick(&mut self) {
        self.telling.end_in_time(&mut self.programs, &self.pins);
        if self.looked_after.elapsed() >= self.config.drift_interval {
            self.look_after(Instant::now());
        }
        if Moment::now().is_ok_and(|moment| self.keeper.is_due(&self.config, moment)) {
            self.rescan();
        }
        self.keeper.keep_time();
    }

    /// Looks at the files, and publishes when they, or the time, say something new.
    pub(super) fn rescan(&mut self) {
        let moment = match Moment::now() {
            Ok(moment) => moment,
            Err(error) => return error!(error = format!("{error:#}"), "the files are not looked at"),
        };
        let snapshot = self.keeper.scan(&self.config);
        let applied = self.keeper.look(&self.config, snapshot, moment);
        self.probes.expect(applied);
    }

    async fn answer(&mut self, request: Request) {
        let done = match &request.verb {
            Verb::Forget { database, open } => self.keeper.host.forget(database, *open),
            Verb::Rebase { database } => self.keeper.host.rebase(database),
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
        self.keeper.forget_look();
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
