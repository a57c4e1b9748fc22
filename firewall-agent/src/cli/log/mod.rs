//! Log on stderr: one line per event, as text or JSON, safe on a terminal, rate-limited; and the durable history of
//! events. A stalled reader or disk stops only these.

mod history;
mod limit;
mod queue;

use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tracing::{Subscriber, warn};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use self::limit::Limit;
use self::queue::Queue;
use crate::escape::EscapedEvents;
use crate::files::event_log::EventLog;

/// Time between two reports of suppressed lines.
const REPORT: Duration = Duration::from_secs(5);
/// Longest wait for the reader of the last lines when the process ends.
const LAST_LINES: Duration = Duration::from_secs(1);
const STACK: usize = 256 << 10;
/// Default levels. The netlink decoder warns about each unknown kind of interface in every listing.
const LEVELS: &str = "netlink_packet_route=error,info";

/// The value of `--log-format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One object a line, for programs.
    Json,
}

/// Log and history of this process. The drop waits for the last lines.
#[derive(Debug)]
pub(super) struct Log {
    lines: Queue,
    events: Queue,
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.drain(LAST_LINES);
        self.events.drain(LAST_LINES);
    }
}

/// Starts the log of this process, at the level in `RUST_LOG`, else `info`, and the history in `state_dir`. An empty
/// variable counts as unset.
///
/// # Errors
/// When no thread can be started.
pub(super) fn start(format: LogFormat, state_dir: &Path) -> Result<Log> {
    let filter = filter(std::env::var(EnvFilter::DEFAULT_ENV).ok().as_deref());
    let (limit, lines) = (Limit::default(), Queue::default());
    let (out, events) = (lines.clone(), events(state_dir)?);
    subscriber(format, filter, limit.clone(), events.clone(), move || out.clone()).init();
    let log = Log { lines: lines.clone(), events };
    let written = lines.clone();
    spawn("log", move || written.write_to(io::stderr()))?;
    spawn("log-report", move || {
        loop {
            thread::sleep(REPORT);
            report(&limit, &lines);
        }
    })?;
    Ok(log)
}

/// Starts the history alone, for a command that has no log.
///
/// # Errors
/// When no thread can be started.
pub(super) fn start_history(state_dir: &Path) -> Result<Log> {
    let events = events(state_dir)?;
    tracing_subscriber::registry().with(history::layer(events.clone())).init();
    Ok(Log { lines: Queue::default(), events })
}

fn events(state_dir: &Path) -> Result<Queue> {
    let (queue, log) = (Queue::default(), EventLog::new(state_dir));
    let events = queue.clone();
    spawn("events", move || events.write_to(log))?;
    Ok(queue)
}

fn filter(directives: Option<&str>) -> EnvFilter {
    let directives = directives.filter(|text| !text.trim().is_empty());
    directives.and_then(|text| EnvFilter::try_new(text).ok()).unwrap_or_else(|| EnvFilter::new(LEVELS))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    thread.spawn(work).map(drop).context("cannot start the log thread")
}

/// Logs the number of suppressed lines since the last call, unless that line would be dropped, too.
fn report(limit: &Limit, queue: &Queue) {
    if !queue.has_room() {
        return;
    }
    limit.report();
    let lines = queue.take_dropped();
    if lines > 0 {
        warn!(lines, message_left_out = "any: stderr is read too slowly", "log lines dropped");
    }
}

fn subscriber<W: Write + 'static>(
    format: LogFormat,
    filter: EnvFilter,
    limit: Limit,
    events: Queue,
    out: impl Fn() -> W + Send + Sync + 'static,
) -> Box<dyn Subscriber + Send + Sync> {
    let out = move || EscapedEvents(out());
    let registry = tracing_subscriber::registry().with(limit).with(history::layer(events));
    match format {
        LogFormat::Human => {
            let text = layer().with_ansi(false).with_writer(out);
            Box::new(registry.with(text.with_filter(filter)))
        }
        LogFormat::Json => {
            let json = layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
            Box::new(registry.with(json.with_writer(out).with_filter(filter)))
        }
    }
}

#[cfg(test)]
mod tests;
