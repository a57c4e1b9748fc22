//! The event loop: the effect of each input of the control plane, verified in the kernel with `explain`.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/strace.rs"]
mod strace;

mod claims;
mod clock;
mod crowd;
mod expiry;
mod faked;
mod ranges;
mod reboot;
mod refused_bpf_calls;
mod revisions;
mod setup;
mod slow;
mod styles;
mod surroundings;
