//! Names of the kernel objects, identical in the object file, on bpffs and in messages, and the contract of every pinned
//! map.

use core::mem::size_of;

use crate::{
    CachedEndpoint, CachedVerdict, CpuState, DatabaseRecord, Denial, Denials, Hits, PortWord, RuleRecord,
    Sampler, SocketDenial, SocketMark, SocketTraffic, SourceFilter, Tally,
};

/// Directory of this map layout below the agent's bpffs directory. Links live outside it, unversioned, so that older
/// and newer agents find them.
pub const LAYOUT: &str = "v3";

/// Directory of the published source tries in a layout's directory; shows an agent of another layout whether databases
/// are in force there.
pub const SOURCES_DIR: &str = "sources";

/// The attached program.
pub const FIREWALL: &str = "firewall";
/// The probe program, never attached: answers with a reason and a rule counter, and counts nothing.
pub const PROBE: &str = "probe";
/// The program attached to a control group: the socket filter.
pub const SOCKET_FILTER: &str = "socket_filter";
/// The probe program of the socket filter, never attached: answers for a packet at a listener.
pub const SOCKET_PROBE: &str = "socket_probe";
/// Pin of the link of [`SOCKET_FILTER`], among those of the interfaces: no interface has this name.
pub const SOCKET_LINK: &str = ":socket-filter";
/// Programs used by `cargo xtask bench` as a baseline; no agent loads them.
pub const MEASURED: [&str; 8] = [
    "empty_drop",
    "empty_pass",
    "parse_only",
    "new_source_drop",
    "new_source_parse",
    "new_source_pass",
    "new_source_send",
    "new_source_firewall",
];

/// Baseline of [`SOCKET_FILTER`], likewise.
pub const MEASURED_AT_SOCKETS: &str = "empty_ingress";

/// Target of `firewall`'s tail call for a refused packet to be recorded. Never attached.
pub const RECORDER: &str = "recorder";
/// The recorder of the packet log build.
pub const PACKET_LOGGER: &str = "packet_logger";
/// Index of [`RECORDER`] in [`RECORDERS`].
pub const RECORDER_INDEX: u32 = 0;
/// Index of [`PACKET_LOGGER`] in [`RECORDERS`].
pub const PACKET_LOGGER_INDEX: u32 = 1;

/// A map pinned under its own name: the agent's half of the contract. The program declares the other half (type, number
/// of entries, flags) in `firewall-ebpf/src/maps.rs`, and the agent reads it from the compiled object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedMap {
    pub name: &'static str,
    /// In bytes.
    pub key_size: usize,
    /// In bytes; a slot of an array of maps or programs has 4.
    pub value_size: usize,
    pub entries: Entries,
    /// Verdicts depend on the map: the drift check compares it with the map that the programs use.
    pub decides: bool,
    pub used_by: UsedBy,
    /// The map has the same meaning in every layout, and an agent of another layout continues it.
    pub migrated: bool,
    pub group: Option<Group>,
}

/// Source of a map's number of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// The number that the program declares.
    Declared,
    /// The configured number of databases.
    Databases,
    /// The number of rule counters, derived from the configured number of databases.
    Counters,
}

/// The programs that use a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsedBy {
    Both,
    /// The XDP program.
    Firewall,
    SocketFilter,
}

/// Maps that must be of the same age: when one has lost its pin, the agent creates all of them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The generation makes cached entries valid.
    Caches,
    /// A recorder ends the run of a packet with the action stored in the sampler.
    Recording,
}

impl Group {
    pub const ALL: [Self; 2] = [Self::Caches, Self::Recording];
}

impl SharedMap {
    const fn new(name: &'static str, key_size: usize, value_size: usize) -> Self {
        let entries = Entries::Declared;
        Self {
            name,
            key_size,
            value_size,
            entries,
            decides: false,
            used_by: UsedBy::Both,
            migrated: false,
            group: None,
        }
    }
}

/// Declares each map once: its name, key and value, and the properties that differ from [`SharedMap::new`].
macro_rules! shared_maps {
    ($($(#[$doc:meta])* $name:ident: $key:ty => $value:ty { $($property:ident: $is:expr),* $(,)? })+) => {
        $($(#[$doc])* pub const $name: &str = stringify!($name);)+

        /// The name of every pinned map.
        pub const MAPS: [&str; CONTRACT.len()] = [$($name),+];

        /// Every pinned map.
        pub const CONTRACT: [SharedMap; [$($name),+].len()] = [$(SharedMap {
            $($property: $is,)*
            ..SharedMap::new($name, size_of::<$key>(), size_of::<$value>())
        }),+];
    };
}

shared_maps! {
    /// Claimed and guarded ports, 64 in a word; packets to all other ports pass.
    PORTS: u32 => PortWord { decides: true }
    /// Guarded ports that are closed to new connections only, 64 in a word: bit `p % 64` of word `p / 64`. The bit of a
    /// port without its bit in [`PORTS`] has no meaning.
    NEW_CONNECTIONS: u32 => u64 { decides: true, used_by: UsedBy::Firewall }
    /// Array of one map: the live endpoint table, `EndpointKey => Endpoint`.
    ENDPOINTS: u32 => u32 { decides: true }
    /// Array of maps: IPv4 allow lists by database slot, tries of one word to a rule counter.
    SOURCES_V4: u32 => u32 { decides: true, entries: Entries::Databases }
    /// Array of maps: IPv6 allow lists by database slot, tries of four words to a rule counter.
    SOURCES_V6: u32 => u32 { decides: true, entries: Entries::Databases }
    /// Array of maps: the IPv4 block lists, tries of two words (database slot or [`crate::EVERY_ENDPOINT`], address) to a
    /// rule counter.
    BLOCKED_V4: u32 => u32 { decides: true }
    /// Array of maps: the IPv6 block lists, tries of five words to a rule counter.
    BLOCKED_V6: u32 => u32 { decides: true }
    /// Packets, bytes and last hit by rule counter, per CPU.
    RULE_HITS: u32 => Hits { migrated: true, entries: Entries::Counters }
    /// Metadata of the rule counters. Userspace only.
    RULES: u32 => RuleRecord { migrated: true, entries: Entries::Counters }
    /// Metadata and stamps of the database slots. Userspace only.
    DATABASES: u32 => DatabaseRecord { migrated: true, entries: Entries::Databases }
    /// Refused sources; the kernel evicts the least recently seen.
    DENIALS: Denial => Denials {}
    /// The state of each CPU: packets and bytes by reason, and the sampler of refused packets. Decides through the action
    /// that a recorder returns.
    CPU_STATE: u32 => CpuState { decides: true, migrated: true, group: Some(Group::Recording) }
    /// Array of programs: [`RECORDER`] and [`PACKET_LOGGER`]. Decides as [`CPU_STATE`] does.
    RECORDERS: u32 => u32 { decides: true, used_by: UsedBy::Firewall, group: Some(Group::Recording) }
    /// The generation, changed by the agent after every publish; see [`crate::CachedVerdict`].
    GENERATION: u32 => u64 { decides: true, group: Some(Group::Caches) }
    /// The verdict cache, per CPU.
    VERDICTS: u32 => CachedVerdict { decides: true, group: Some(Group::Caches) }
    /// The endpoint cache, per CPU.
    ENDPOINT_CACHE: u32 => CachedEndpoint { decides: true, group: Some(Group::Caches) }
    /// IPv4 source prefilters by database slot.
    PREFILTER_V4: u32 => SourceFilter { decides: true, entries: Entries::Databases }
    /// IPv6 source prefilters by database slot.
    PREFILTER_V6: u32 => SourceFilter { decides: true, entries: Entries::Databases }
    /// Socket storage: the marks of TCP sockets at protected ports.
    SOCKETS: u32 => SocketMark { decides: true, used_by: UsedBy::SocketFilter }
    /// Packets and bytes judged at a socket, by interface and verdict, per CPU.
    SOCKET_TRAFFIC: SocketTraffic => Tally { used_by: UsedBy::SocketFilter }
    /// Sources refused at a socket; the kernel evicts the least recently seen.
    SOCKET_DENIALS: SocketDenial => Denials { used_by: UsedBy::SocketFilter }
    /// The samplers of packets refused at a socket, one per CPU.
    SOCKET_SAMPLER: u32 => Sampler { used_by: UsedBy::SocketFilter }
}

/// Constant of the programs: the enabled [`crate::fast_path`].
pub const ACCELERATIONS: &str = "ACCELERATIONS";
/// Constant of the programs: the enabled [`crate::socket_filter`].
pub const SOCKET_FILTER_BITS: &str = "SOCKET_FILTER_BITS";
