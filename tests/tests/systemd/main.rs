//! The shipped units under a real systemd, process 1 of its own namespaces: the start conditions of the database, and
//! the effect on both when one of them crashes, hangs or is restarted.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/foreign.rs"]
mod foreign;

mod guest;
mod installed_host;
mod scenarios;
mod units;
