//! The kernel side: load, pin, publish, attach, ask. The only user of aya.

mod convert;
mod counters;
mod endpoints;
mod filters;
mod generation;
mod inner;
mod interface;
mod kernel;
mod links;
mod object;
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
pub use interface::{Attached, XdpState, xdp_state};
pub use kernel::Kernel;
pub use links::{InterfaceLink, attach, links};
pub use object::{Capacity, Programs};
pub use pins::{Owned, Pins};
pub use probe::{Answer, Probe};
