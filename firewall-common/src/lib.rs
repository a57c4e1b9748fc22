//! The contract between the kernel's programs and userspace: the packet parser, the verdict reasons, and the names, keys and
//! values of every shared map.
//!
//! Byte order: addresses and ports are in **network byte order** in every map key and [`packet::Flow`]; an address is
//! read as native `u32` words over those bytes, never converted. Every other integer (slots, counters, revisions) is in
//! the byte order of the host.
//!
//! Layout: each type shared with the kernel is `#[repr(C)]` and derives `bytemuck::Pod`, which refuses padding; its size
//! and offsets are asserted at compile time. A change of any of them is a new layout version ([`names::LAYOUT`]).

#![no_std]

mod accelerations;
mod cpu_state;
mod denial;
mod layout;
pub mod names;
pub mod packet;
mod reason;
mod socket;

pub use accelerations::{
    CACHED_ENDPOINTS, CACHED_VERDICTS, CachedEndpoint, CachedVerdict, FILTER_BITS, FILTER_LENGTH,
    FILTER_WORDS, SourceFilter, fast_path, filter_bit_v4, filter_bit_v6,
};
pub use cpu_state::{CpuState, SessionTally, Tick};
pub use denial::{
    CLASS_NONE, CLASS_SYN, CLASS_TCP, CLASS_UDP, DENIALS_SIZE, Denial, DenialTotals, Denials, Handover,
    Sampler, SamplingRate,
};
pub use layout::{
    ADDRESS_INDEX, ANY_FAMILY, Address, BLOCK_LISTS, BLOCKED_RANGES, COUNTER_BLOCKED_RANGE, COUNTER_CUSTOM,
    COUNTER_DEFAULT, COUNTER_INTERNAL, COUNTER_LOCAL_ALLOW, COUNTER_LOCAL_BLOCK, COUNTER_MANAGED,
    COUNTER_PREFIX, DatabaseRecord, ENFORCE, EVERY_ENDPOINT, Endpoint, EndpointKey, HOST_ROW, Hits, IPV4,
    IPV6, LOCAL_BLOCKS, MAX_MEMBERS, MONITOR, NO_DATABASE, NO_RULE, PORT_WORDS, PortWord, RuleRecord, Stamp,
    TOMBSTONE, Tally,
};
pub use reason::Reason;
pub use socket::{
    ACCEPTED, EVERY_DATABASE, OUTGOING, PRESUMED_OUTGOING, SOCKET_DENIALS_SIZE, SOCKET_TRAFFIC_SIZE,
    SocketDenial, SocketMark, SocketTraffic, UNMARKED, socket_filter,
};
