//! The kernel side: load, pin, publish, attach, ask. The only user of aya.

mod convert;
mod counters;
mod denials;
mod endpoints;
mod inner;
mod interface;
mod kernel;
mod links;
mod object;
mod packet_log;
mod patience;
mod pins;
mod plain;
mod ports;
mod probe;
mod records;
mod shape;
mod sources;
mod stamps;
mod syscall;

pub use counters::LineHits;
pub use denials::{Class, Denied, DeniedTotals, Sighting};
pub use interface::{Attached, XdpState, xdp_state};
pub use kernel::Kernel;
pub use links::{InterfaceLink, attach, links};
pub use object::{Capacity, Programs};
pub use packet_log::PacketLog;
pub use pins::{Owned, Pins};
pub use probe::{Answer, Probe};
