//! Who was refused, as the loaded program writes it down: every packet while there are few, right shares of a flood.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/kernel.rs"]
mod kernel;

mod few;
mod flood;
mod stand;
