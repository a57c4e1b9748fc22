//! Log of the daemon on stderr: one line per event, as text or JSON, safe on a terminal, rate-limited. A stalled reader
//! stops only the log.

mod limit;
mod queue;

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tracing::{Subscriber, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::limit::Limit;
use self::queue::Queue;
use crate::escape::EscapedEvents;

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

/// Log of this process. Its drop waits for the last lines.
#[derive(Debug)]
pub(super) struct Log(Queue);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.drain(LAST_LINES);
    }
}

/// Starts the log of this process, at the level in `RUST_LOG`, else `info`. An empty variable counts as unset.
///
/// # Errors
/// When no thread can be started.
pub(super) fn start(format: LogFormat) -> Result<Log> {
    let filter = filter(std::env::var(EnvFilter::DEFAULT_ENV).ok().as_deref());
    let (limit, queue) = (Limit::default(), Queue::default());
    let out = queue.clone();
    subscriber(format, filter, limit.clone(), move || out.clone()).init();
    let lines = queue.clone();
    spawn("log", move || lines.write_to(io::stderr()))?;
    let log = Log(queue.clone());
    spawn("log-report", move || {
        loop {
            thread::sleep(REPORT);
            report(&limit, &queue);
        }
    })?;
    Ok(log)
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
    out: impl Fn() -> W + Send + Sync + 'static,
) -> Box<dyn Subscriber + Send + Sync> {
    let out = move || EscapedEvents(out());
    let registry = tracing_subscriber::registry().with(filter).with(limit);
    match format {
        LogFormat::Human => Box::new(registry.with(layer().with_ansi(false).with_writer(out))),
        LogFormat::Json => {
            let json = layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
            Box::new(registry.with(json.with_writer(out)))
        }
    }
}

#[cfg(test)]
mod tests;
