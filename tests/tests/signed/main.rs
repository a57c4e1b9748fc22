//! Signed pushes: an agent with trusted keys accepts only files that one of them signed.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod refusals;
mod rotation;
mod setup;
