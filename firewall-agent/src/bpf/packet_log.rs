//! Packet log: the build of the programs with per-packet messages, swapped in and out by link update.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use firewall_common::Reason;
use log::{Log, Metadata, Record};
use tracing::info;

use super::{pins::Pins, programs::Programs};

/// Messages logged per second; the rest is counted.
const PER_SECOND: u32 = 50;

/// The loaded build and its messages.
pub struct PacketLog {
    programs: Programs,
    messages: EbpfLogger<MessageLog>,
}

impl std::fmt::Debug for PacketLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketLog").field("programs", &self.programs).finish_non_exhaustive()
    }
}

impl PacketLog {
    /// Loads the build next to the normal one, over the same maps.
    ///
    /// # Errors
    /// When the kernel refuses a call.
    pub fn load(pins: &Pins) -> Result<Self> {
        let mut programs = Programs::load_packet_log(pins)?;
        let messages = EbpfLogger::init_with_logger(programs.object(), MessageLog::default())
            .context("cannot read packet messages")?;
        Ok(Self { programs, messages })
    }

    /// The programs to attach instead of the normal ones.
    pub fn programs(&mut self) -> &mut Programs {
        &mut self.programs
    }

    /// Undoes [`Self::load`]. Must be called after the normal programs have replaced these.
    pub fn end(self, pins: &Pins) {
        self.programs.remove_recorder(pins);
    }

    /// Logs the messages since the last call; the kernel bounds their number.
    pub fn log_messages(&mut self) {
        self.messages.flush();
    }
}

/// Receiver of the messages; limits their rate.
#[derive(Debug, Default)]
struct MessageLog(Mutex<LogWindow>);

#[derive(Debug, Default)]
struct LogWindow {
    started: Option<Instant>,
    logged: u32,
    omitted: u64,
}

impl Log for MessageLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if second.started.is_none_or(|started| started.elapsed() >= Duration::from_secs(1)) {
            *second = LogWindow { started: Some(Instant::now()), logged: 0, omitted: second.omitted };
        }
        if second.logged == PER_SECOND {
            second.omitted += 1;
            return;
        }
        second.logged += 1;
        log_message(&record.args().to_string(), std::mem::take(&mut second.omitted));
    }

    fn flush(&self) {}
}

/// Logs a message of the program: source, destination, port, protocol, SYN flag, reason, rule counter, action, as
/// numbers.
fn log_message(message: &str, omitted: u64) {
    let words: Vec<&str> = message.split(' ').collect();
    let [source, destination, port, protocol, syn, reason, counter, action] = words[..] else {
        return info!(target: "packet", message, "packet message not parsed");
    };
    let reason = reason.parse().ok().and_then(|number: usize| Reason::ALL.get(number));
    let protocol = match protocol {
        "6" if syn == "1" => "tcp syn",
        "6" => "tcp",
        "17" => "udp",
        _ => "unknown",
    };
    let known = |address: &str| address.parse::<IpAddr>().is_ok_and(|address| !address.is_unspecified());
    let address = |address| if known(address) { address } else { "unknown" };
    info!(
        target: "packet",
        source = address(source),
        destination = address(destination),
        port,
        protocol,
        reason = reason.map_or("unknown", |reason| reason.name()),
        counter,
        verdict = if action == "2" { "pass" } else { "drop" },
        omitted,
    );
}
