//! `audit` on a host where ways to its protected ports are planted, one at a time.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod planted;
mod sight;
mod stage;
