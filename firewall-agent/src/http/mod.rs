//! What the agent shows over HTTP: `/metrics`, `/healthz`, `/readyz` and `/status`.
//!
//! Everything runs on a thread of its own, so that no answer waits for a publish: the agent's loop leaves what it has to
//! say on a [`Board`], and the kernel's counters are read when somebody asks for them.

mod answer;
mod board;
mod metrics;
mod server;
mod snapshot;

use anyhow::Result;

pub use self::answer::{Desk, Readiness};
pub use self::board::Board;
pub use self::server::{Bind, IsLost, converse, serve};
pub use self::snapshot::{Lines, Snapshot, Tally};
use crate::status::ReasonCounter;
use crate::sync::RuleSlot;

/// The kernel's counters.
pub trait Counters: Send {
    /// Packets and bytes by reason, in the order of the reasons' numbers.
    ///
    /// # Errors
    /// When a counter cannot be read.
    fn reasons(&self) -> Result<Vec<ReasonCounter>>;

    /// Refused packets that were never written down, so that `denied` does not show them.
    ///
    /// # Errors
    /// When a counter cannot be read.
    fn unrecorded(&self) -> Result<u64>;

    /// What was counted on a line.
    ///
    /// # Errors
    /// When the counter cannot be read.
    fn line(&self, line: RuleSlot) -> Result<Tally>;
}
