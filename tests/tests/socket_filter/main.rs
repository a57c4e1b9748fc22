//! The socket filter, with real sockets: verdicts behind translation and tunnels, sockets that it leaves alone, and its
//! lifetime.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod bypasses;
mod evidence;
mod lifetime;
mod modules;
mod own;
mod rows;
mod scene;
mod sessions;
