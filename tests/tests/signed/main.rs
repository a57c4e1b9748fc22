//! Signed pushes: an agent with trusted keys takes what one of them signed, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod refusals;
mod rotation;
mod stage;
