//! The shipped units under a real systemd, process 1 of namespaces of its own: what the database's start waits for, and
//! what happens to both when one of them crashes, hangs or is restarted.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod guest;
mod scenarios;
mod stage;
mod units;
