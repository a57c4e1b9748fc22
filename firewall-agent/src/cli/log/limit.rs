//! Rate limit of the log: each call site has a bucket of lines, refilled at a rate. Suppressed lines are counted, and
//! the count is logged.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines at once, and the time to refill one. Every database of a host may come into force at once; a problem that
/// repeats faster than that is a flood.
const INFO_RATE: (u32, Duration) = (512, Duration::from_millis(200));
const ERROR_RATE: (u32, Duration) = (20, Duration::from_millis(500));

/// Rate limit, shared by all its clones.
#[derive(Debug, Clone, Default)]
pub(super) struct Limit(Arc<Mutex<HashMap<Identifier, Bucket>>>);

#[derive(Debug)]
struct Bucket {
    lines: u32,
    /// Start of the refill of the next line.
    since: Instant,
    left_out: u64,
    /// Message of the suppressed lines.
    message: String,
}

impl Limit {
    /// Logs the number of suppressed lines since the last call, by message.
    pub fn report(&self) {
        let left_out: Vec<(u64, String)> = {
            let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let full = buckets.values_mut().filter(|bucket| bucket.left_out > 0);
            full.map(|bucket| (std::mem::take(&mut bucket.left_out), bucket.message.clone())).collect()
        };
        for (lines, message) in left_out {
            warn!(lines, message_left_out = message, "log lines dropped");
        }
    }

    /// Returns `true` if one more line fits.
    fn admits(&self, event: &Event<'_>, now: Instant) -> bool {
        let (most, refill) = match *event.metadata().level() {
            Level::ERROR | Level::WARN => ERROR_RATE,
            Level::INFO => INFO_RATE,
            // The user asked for these levels.
            _ => return true,
        };
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(event.metadata().callsite()).or_insert_with(|| Bucket {
            lines: most,
            since: now,
            left_out: 0,
            message: String::new(),
        });
        let saved = now.saturating_duration_since(bucket.since).as_nanos() / refill.as_nanos();
        let saved = u32::try_from(saved).unwrap_or(u32::MAX);
        bucket.lines = bucket.lines.saturating_add(saved).min(most);
        bucket.since = if bucket.lines == most { now } else { bucket.since + refill * saved };
        if bucket.lines == 0 {
            bucket.left_out += 1;
            if bucket.message.is_empty() {
                event.record(&mut Message(&mut bucket.message));
            }
            return false;
        }
        bucket.lines -= 1;
        true
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.admits(event, Instant::now())
    }
}

/// Collects the message of an event, a constant of the code, without its fields.
struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            *self.0 = format!("{value:?}");
        }
    }
}
