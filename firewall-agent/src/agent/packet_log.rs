//! Packet log control: on for a limited time, and off.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tracing::info;

use crate::bpf::{NamedMaps, PacketLog, Pins, Programs};

/// Time between two reads of the kernel's packet messages.
const EVERY: Duration = Duration::from_millis(100);
/// Longest time for one request, in seconds.
const LONGEST: u64 = 3600;

/// State of the packet log.
#[derive(Debug, Default)]
pub(super) struct PacketLogControl {
    log: Option<PacketLog>,
    /// `None`: until the agent ends.
    until: Option<Instant>,
    /// Error of the last start or end.
    problem: Option<String>,
}

impl PacketLogControl {
    /// The programs to run on interfaces.
    pub fn attached<'a>(&'a mut self, normal: &'a mut Programs) -> &'a mut Programs {
        self.log.as_mut().map_or(normal, PacketLog::programs)
    }

    /// Restores missing pins of the programs of both builds; returns their number.
    pub fn restore_pins(&mut self, normal: &mut Programs, pins: &Pins) -> Result<u64> {
        let Some(log) = &mut self.log else { return normal.restore_pins(pins, None) };
        let restored = log.programs().restore_pins(pins, None)?;
        Ok(restored + normal.restore_pins(pins, Some(log.programs()))?)
    }

    /// Restores the recorders of both builds in their map slots; returns the number of slots with other contents.
    pub fn repair_recorders(&mut self, normal: &mut Programs, named_maps: &mut NamedMaps) -> Result<u64> {
        named_maps.repair_recorders(normal, self.log.as_mut().map(PacketLog::programs))
    }

    /// Starts the packet log, or extends it.
    pub fn start(&mut self, seconds: Option<u64>, normal: &mut Programs, pins: &Pins) -> Result<()> {
        let started = self.try_start(seconds, normal, pins);
        self.note(started, "cannot start the packet log")
    }

    fn try_start(&mut self, seconds: Option<u64>, normal: &mut Programs, pins: &Pins) -> Result<()> {
        if self.log.is_none() {
            let mut log = PacketLog::load(pins)?;
            if let Err(error) = log.programs().swap_in(pins) {
                normal.swap_in(pins)?;
                log.end(pins);
                return Err(error);
            }
            self.log = Some(log);
            info!(seconds, "packet log started");
        }
        self.until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        Ok(())
    }

    /// Ends the packet log; earlier messages are still logged.
    pub fn end(&mut self, normal: &mut Programs, pins: &Pins) -> Result<()> {
        let ended = self.try_end(normal, pins);
        self.note(ended, "cannot restore the normal program")
    }

    fn try_end(&mut self, normal: &mut Programs, pins: &Pins) -> Result<()> {
        self.log_messages();
        if self.log.is_some() {
            normal.swap_in(pins)?;
            if let Some(log) = self.log.take() {
                log.end(pins);
            }
            info!("packet log ended, normal program restored");
        }
        Ok(())
    }

    /// Executes the verb: on for a number of seconds, or off.
    pub fn switch(&mut self, seconds: Option<u64>, normal: &mut Programs, pins: &Pins) -> Result<String> {
        let Some(seconds) = seconds else {
            self.end(normal, pins)?;
            return Ok("packet log is off".to_owned());
        };
        ensure!((1..=LONGEST).contains(&seconds), "packet log for {seconds} s: must be 1 s to {LONGEST} s");
        self.start(Some(seconds), normal, pins)?;
        Ok(format!("packet log is on for {seconds} s: messages are in the daemon's log"))
    }

    /// Ends the packet log when its time is over. The next tick retries failures.
    pub fn end_in_time(&mut self, normal: &mut Programs, pins: &Pins) {
        if self.until.is_some_and(|until| until <= Instant::now()) && self.end(normal, pins).is_ok() {
            self.until = None;
        }
    }

    /// Stores the error of an attempt for the condition.
    fn note(&mut self, done: Result<()>, wrong: &str) -> Result<()> {
        self.problem = done.as_ref().err().map(|error| format!("{wrong}: {error:#}"));
        done
    }

    /// Error of the last start or end; `None` when it succeeded.
    pub fn problem(&self) -> Option<String> {
        self.problem.clone()
    }

    /// Waits until messages may be available; forever while the packet log is off.
    pub async fn pause(&self) {
        match self.log {
            Some(_) => tokio::time::sleep(EVERY).await,
            None => std::future::pending().await,
        }
    }

    pub fn log_messages(&mut self) {
        if let Some(log) = &mut self.log {
            log.log_messages();
        }
    }
}
