//! Previously claimed destinations over a boot: a stranger's TCP connection never succeeds, whatever happened before.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/strace.rs"]
mod strace;

mod crowded;
mod forgotten;
mod full;
mod guards;
mod leaving;
mod refused;
mod setup;
mod starts;
mod upgrades;
