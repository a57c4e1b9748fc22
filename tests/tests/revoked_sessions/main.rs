//! Open TCP sessions of sources that lost their access, with real sockets: kept by default, reset with
//! `revoke_sessions: reset`.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/bpf.rs"]
mod bpf;
mod many;
#[path = "../support/raw.rs"]
mod raw;
mod reset;
mod scene;
#[path = "../support/strace.rs"]
mod strace;
mod untouched;
