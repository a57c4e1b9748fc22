//! The kernel side: load, pin, publish, attach, ask. The only user of aya.

mod convert;
mod counters;
mod drift;
mod endpoints;
mod held_links;
mod inner;
mod interface;
mod kernel;
mod layouts;
mod link_events;
mod links;
mod mount;
mod object;
mod packet;
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
pub use drift::Anchors;
pub use held_links::HeldLinks;
pub use interface::{Attached, XdpState, xdp_state};
pub use kernel::Kernel;
pub use layouts::{is_in_use, other_layouts, remove_other_layouts};
pub use link_events::LinkEvents;
pub use links::{InterfaceLink, Step, attach, detach_all, is_ours, links, update_elsewhere};
pub use object::{Capacity, Programs};
pub use pins::{Owned, Pins};
pub use probe::{Answer, Probe};
