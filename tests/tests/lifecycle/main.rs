//! The agent's lifecycle: starts, ends, kills, restarts, and a kernel that filters throughout.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/bpf.rs"]
mod bpf;
#[path = "../support/foreign.rs"]
mod foreign;
#[path = "../support/raw.rs"]
mod raw;

mod abi;
mod adoption;
mod applies;
mod boots;
mod by_pin;
mod deciding;
mod detached;
mod drift;
mod files;
mod flood;
mod interfaces;
mod layouts;
mod many;
mod moves;
mod overlay;
mod packet_log;
mod restarts;
mod restored;
mod rights;
mod setup;
mod traffic;
