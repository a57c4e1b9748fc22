//! What the agent serves over HTTP, and what watches it: metrics, probes, alert rules, logs.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod health;
mod hostile;
mod metrics;
mod pages;
mod scrape;
mod stage;
