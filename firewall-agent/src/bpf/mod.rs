//! The kernel side: load, pin, publish, attach, probe. The only user of aya.

mod convert;
mod counters;
mod denials;
mod drift;
mod endpoints;
mod features;
mod generation;
mod kernel;
mod layouts;
mod links;
mod map_of_maps;
mod packet_log;
mod pins;
mod probe;
mod programs;
mod records;
mod shapes;
mod slots;
mod socket_link;
mod socket_traffic;
mod source_prefilters;
mod sources;
mod syscall;

pub use counters::CounterHits;
pub use denials::{Class, Denied, DeniedFlow, DeniedTotals, Hook};
pub use drift::NamedMaps;
pub use kernel::Kernel;
pub use layouts::{databases_in, other_layouts, remove_other_layouts};
pub use links::{InterfaceLink, OpenLinks, Step, all_run, attach, detach_all, links};
pub use packet_log::PacketLog;
pub use pins::{Owned, Pins};
pub use probe::{Answer, Probe};
pub use programs::{MapSizes, Programs};
pub use socket_link::{OpenSocketLink, SocketLink, socket_filter_runs};
pub use socket_traffic::SocketCount;
