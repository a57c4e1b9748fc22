//! The agent's HTTP server and its monitoring: metrics, probes, alert rules, logs.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/strace.rs"]
mod strace;

mod deployed;
mod health;
mod hostile;
mod logs;
mod metrics;
mod pages;
mod prometheus;
mod scrape;
mod setup;
