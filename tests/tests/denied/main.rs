//! Denied packets as the loaded program records them: every packet at low rates, correct shares of a flood.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/kernel.rs"]
mod kernel;

mod few;
mod flood;
mod setup;
