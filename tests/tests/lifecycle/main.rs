//! The agent's life: it starts, ends, is killed, comes back, and the kernel filters on.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/bpf.rs"]
mod bpf;
#[path = "../support/map.rs"]
mod map;

mod adoption;
mod by_pin;
mod files;
mod interfaces;
mod restarts;
mod rights;
mod stage;
mod traffic;
