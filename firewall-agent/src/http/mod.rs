//! HTTP server: `/metrics`, `/healthz`, `/readyz` and `/status`.
//!
//! It runs on its own thread: no answer waits for a publish. The event loop posts its snapshots on a [`SharedState`]; the
//! kernel's counters are read on request.

mod metrics;
mod published_state;
mod request_handler;
mod server;
mod shared_state;

use std::collections::BTreeMap;

use anyhow::Result;
pub use firewall_common::Tally;

pub use self::published_state::{DatabaseCounters, PublishedState};
pub use self::request_handler::{Readiness, RequestHandler};
pub use self::server::{Bind, SocketLost, converse, serve};
pub use self::shared_state::SharedState;
use crate::status::{KernelMemory, ReasonCounter, SocketCounter};
use crate::sync::CounterId;

/// Packets that the socket filter judged, of one interface with one verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketTally {
    /// Name of the interface with this index on the host, or `index N`.
    pub interface: String,
    /// False for an interface that is gone, or in another network namespace.
    pub is_on_host: bool,
    pub reason: &'static str,
    /// The database's default counter; 0 when none decided, or for allowed packets.
    pub counter: CounterId,
    pub tally: Tally,
}

/// Source of the kernel's counters.
pub trait Counters: Send {
    /// Packets and bytes by reason, in the numeric order of the reasons.
    ///
    /// # Errors
    /// When a counter cannot be read.
    fn reasons(&self) -> Result<Vec<ReasonCounter>>;

    /// Unrecorded denied packets, missing in the output of `denied`.
    ///
    /// # Errors
    /// When a counter cannot be read.
    fn unrecorded(&self) -> Result<u64>;

    /// Value of a rule counter.
    ///
    /// # Errors
    /// When the counter cannot be read.
    fn tally(&self, counter: CounterId) -> Result<Tally>;

    /// Packets that the socket filter judged.
    ///
    /// # Errors
    /// When the table cannot be read.
    fn sockets(&self) -> Result<Vec<SocketTally>>;

    /// Memory of the maps.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn memory(&self) -> Result<KernelMemory>;
}

/// The tallies in the form of `status`, in the order of interface, database and reason.
#[must_use]
pub fn socket_counters(
    tallies: Vec<SocketTally>,
    databases: &BTreeMap<String, DatabaseCounters>,
) -> Vec<SocketCounter> {
    let owners: BTreeMap<CounterId, &String> = databases.iter().map(|(id, of)| (of.default, id)).collect();
    let counter = |one: SocketTally| SocketCounter {
        interface: one.interface,
        database_id: owners.get(&one.counter).map(|id| (*id).clone()),
        reason: one.reason.to_owned(),
        packets: one.tally.packets,
        bytes: one.tally.bytes,
    };
    let mut counters: Vec<SocketCounter> = tallies.into_iter().map(counter).collect();
    counters.sort_by(|a, b| {
        (&a.interface, &a.database_id, &a.reason).cmp(&(&b.interface, &b.database_id, &b.reason))
    });
    counters
}
