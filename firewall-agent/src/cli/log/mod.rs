//! The daemon's log, on stderr: one line an event, in words or JSON, safe on a terminal, bounded in a flood.

mod escape;
mod limit;

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::escape::Line;
pub(super) use self::escape::plain;
use self::limit::Limit;

/// Time between two reports of what was left out.
const REPORT: Duration = Duration::from_secs(5);
const STACK: usize = 256 << 10;

/// The value of `--log-format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One object a line, for programs.
    Json,
}

/// Starts the log of this process, at the level that `RUST_LOG` gives, else `info`.
///
/// # Errors
/// When there is no thread to be had.
pub(super) fn start(format: LogFormat) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let limit = Limit::default();
    subscriber(format, filter, limit.clone(), io::stderr).init();
    let report = move || {
        loop {
            thread::sleep(REPORT);
            limit.report();
        }
    };
    let thread = thread::Builder::new().name("log".to_owned()).stack_size(STACK);
    thread.spawn(report).context("no thread for the log")?;
    Ok(())
}

fn subscriber<W: Write + 'static>(
    format: LogFormat,
    filter: EnvFilter,
    limit: Limit,
    out: impl Fn() -> W + Send + Sync + 'static,
) -> Box<dyn Subscriber + Send + Sync> {
    let out = move || Line(out());
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
