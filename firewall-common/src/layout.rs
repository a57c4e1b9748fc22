//! Keys and values of the shared maps.

use core::mem::{offset_of, size_of};

use bytemuck::{Pod, Zeroable};

/// An address in network byte order: IPv4 in word 0 with the rest zero, IPv6 in all four words.
pub type Address = [u32; 4];

/// [`EndpointKey::family`] of a wildcard endpoint: every destination address of both families.
pub const ANY_FAMILY: u8 = 0;
/// [`EndpointKey::family`] of an IPv4 address.
pub const IPV4: u8 = 4;
/// [`EndpointKey::family`] of an IPv6 address.
pub const IPV6: u8 = 6;

/// [`EndpointKey::protocol`] of a row of the address index, see [`EndpointKey`].
pub const ADDRESS_INDEX: u8 = 0;
/// [`EndpointKey::protocol`] of a row of the host index, see [`EndpointKey`].
pub const HOST_ROW: u8 = 255;
/// The most databases that may share one address, wildcards included; bounds the program's walk over the address index.
pub const MAX_MEMBERS: u32 = 256;

/// A row of the endpoint table.
///
/// Three kinds of rows share the table, so that one pointer swap publishes both:
/// * protocol 6 or 17: the endpoint (address or any, port, protocol) itself;
/// * protocol [`ADDRESS_INDEX`]: the address index, that is, the databases at one address, for portless packets. `port`
///   counts the rows from 0 in **host** byte order; the walk ends at the first missing number. A row with [`TOMBSTONE`]
///   comes first and marks that something at the address is closed. The rows of an address include the wildcard
///   databases, and enforcing databases come before monitored ones.
/// * protocol [`HOST_ROW`]: the host index, the rows of every database with an endpoint, see
///   [`crate::EVERY_DATABASE`]. No lookup by a packet's address has this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct EndpointKey {
    /// Destination address; zero for a wildcard.
    pub address: Address,
    /// Destination port in network byte order, or the number of a row of the address index.
    pub port: u16,
    /// IP protocol number, [`ADDRESS_INDEX`] or [`HOST_ROW`].
    pub protocol: u8,
    /// [`IPV4`], [`IPV6`] or [`ANY_FAMILY`].
    pub family: u8,
}

/// [`Endpoint::mode`]: a source outside the allow list is refused.
pub const ENFORCE: u32 = 0;
/// [`Endpoint::mode`]: a source outside the allow list is counted and passes.
pub const MONITOR: u32 = 1;
/// [`Endpoint::mode`]: every source is refused.
pub const TOMBSTONE: u32 = 2;

/// The value of a row of the endpoint table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Endpoint {
    /// The database slot: an index into both outer maps of sources. Unused in a tombstone.
    pub slot: u32,
    /// [`ENFORCE`], [`MONITOR`] or [`TOMBSTONE`].
    pub mode: u32,
    /// The rule counter of a source outside the allow list; [`NO_RULE`] in a tombstone.
    pub default_counter: u32,
}

/// Number of [`PortWord`]s: one for each 64 ports.
pub const PORT_WORDS: u32 = 1024;

/// 64 consecutive ports: port `p` (host order) is bit `p % 64` of word `p / 64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct PortWord {
    /// The endpoint table has a row at this port, tombstones included. May be set too early and cleared too late, never
    /// the reverse.
    pub claimed: u64,
    /// The port is guarded: closed at every destination address unless an endpoint claims it. A port in
    /// [`crate::names::NEW_CONNECTIONS`] is closed only to packets that can open a TCP connection, and to UDP.
    pub guarded: u64,
}

/// The rule counter that means "no rule"; never assigned.
pub const NO_RULE: u32 = 0;

/// Packets and bytes (whole frames) by reason. For a frame in several buffers, padding after the first may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Bytes of the frames, from the Ethernet header on.
    pub bytes: u64,
}

impl core::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// Packets and bytes, as in [`Tally`], by rule counter, and the time of the last packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Hits {
    /// Packets.
    pub packets: u64,
    /// Bytes of the frames, from the Ethernet header on.
    pub bytes: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds, at the resolution of the kernel's tick; 0 before the first packet.
    pub last_seen: u64,
}

/// [`RuleRecord::kind`]: the default counter, for sources that no rule of the database allows.
pub const COUNTER_DEFAULT: u32 = 0;
/// [`RuleRecord::kind`]: a `custom_range` rule.
pub const COUNTER_CUSTOM: u32 = 1;
/// [`RuleRecord::kind`]: a `managed_range` rule.
pub const COUNTER_MANAGED: u32 = 2;
/// [`RuleRecord::kind`]: an internal range.
pub const COUNTER_INTERNAL: u32 = 3;

/// [`RuleRecord::kind`]: one prefix of a `managed_range` rule; the tries map the prefix to it.
pub const COUNTER_PREFIX: u32 = 4;
/// [`RuleRecord::kind`]: a range of the blocked ranges; belongs to no database.
pub const COUNTER_BLOCKED_RANGE: u32 = 5;
/// [`RuleRecord::kind`]: a local block of the overlay; belongs to no database, also if it concerns only one.
pub const COUNTER_LOCAL_BLOCK: u32 = 6;
/// [`RuleRecord::kind`]: a source that the overlay allows.
pub const COUNTER_LOCAL_ALLOW: u32 = 7;

/// [`RuleRecord::database`] of a counter that belongs to no database.
pub const NO_DATABASE: u32 = u32::MAX;

/// Index of a block list in the outer maps: the blocked ranges.
pub const BLOCKED_RANGES: u32 = 0;
/// Index of a block list in the outer maps: the local blocks of the overlay.
pub const LOCAL_BLOCKS: u32 = 1;
/// Number of block lists.
pub const BLOCK_LISTS: u32 = 2;

/// First word of a block list's key: the entry refuses its source at every endpoint. Any other value is a database slot;
/// no slot has this number. The prefix length of a key covers this word, too.
pub const EVERY_ENDPOINT: u32 = u32::MAX;

/// Metadata of a rule counter. Texts are UTF-8, padded with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct RuleRecord {
    /// The database slot that the rule belongs to, or [`NO_DATABASE`].
    pub database: u32,
    /// One of the `COUNTER_…` numbers.
    pub kind: u32,
    /// Rule id; empty for the default counter, the canonical CIDR for an internal range.
    pub id: [u8; 64],
    /// Id of the managed range; empty for every other kind.
    pub range: [u8; 64],
    /// The rule's label, or the managed range's name; when longer, cut at a character boundary and ended with `…`.
    pub label: [u8; 256],
}

/// One published state of a database's sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Stamp {
    /// Revision of the rule file.
    pub revision: u64,
    /// Number of the published rule set; 0 in a stamp that was never written.
    pub generation: u64,
    /// Time of the publish, in seconds since 1970.
    pub applied_at: u64,
    /// Kernel ids of the IPv4 and the IPv6 trie.
    pub tries: [u32; 2],
    /// SHA-256 over both tries' contents.
    pub digest: [u8; 32],
}

/// Metadata of a database slot. The agent writes it **before** it publishes the tries: whichever of the two stamps
/// names the live tries is in force, even after a crash in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct DatabaseRecord {
    /// Database id, padded with zeros.
    pub id: [u8; 64],
    /// Display name, uncut: 256 characters have at most 1,024 bytes of UTF-8. Padded with zeros.
    pub name: [u8; 1024],
    /// The database's default counter, for refused sources.
    pub default_counter: u32,
    /// Zero.
    pub reserved: u32,
    /// The newest stamp.
    pub newest: Stamp,
    /// The stamp before the newest.
    pub previous: Stamp,
}

const _: () = {
    assert!(size_of::<EndpointKey>() == 20);
    assert!(offset_of!(EndpointKey, address) == 0);
    assert!(offset_of!(EndpointKey, port) == 16);
    assert!(offset_of!(EndpointKey, protocol) == 18);
    assert!(offset_of!(EndpointKey, family) == 19);
    assert!(size_of::<Endpoint>() == 12);
    assert!(offset_of!(Endpoint, slot) == 0);
    assert!(offset_of!(Endpoint, mode) == 4);
    assert!(offset_of!(Endpoint, default_counter) == 8);
    assert!(size_of::<PortWord>() == 16);
    assert!(offset_of!(PortWord, claimed) == 0);
    assert!(offset_of!(PortWord, guarded) == 8);
    assert!(size_of::<Tally>() == 16);
    assert!(offset_of!(Tally, packets) == 0);
    assert!(offset_of!(Tally, bytes) == 8);
    assert!(size_of::<Hits>() == 24);
    assert!(offset_of!(Hits, packets) == 0);
    assert!(offset_of!(Hits, bytes) == 8);
    assert!(offset_of!(Hits, last_seen) == 16);
    assert!(size_of::<RuleRecord>() == 392);
    assert!(offset_of!(RuleRecord, database) == 0);
    assert!(offset_of!(RuleRecord, kind) == 4);
    assert!(offset_of!(RuleRecord, id) == 8);
    assert!(offset_of!(RuleRecord, range) == 72);
    assert!(offset_of!(RuleRecord, label) == 136);
    assert!(size_of::<Stamp>() == 64);
    assert!(offset_of!(Stamp, revision) == 0);
    assert!(offset_of!(Stamp, generation) == 8);
    assert!(offset_of!(Stamp, applied_at) == 16);
    assert!(offset_of!(Stamp, tries) == 24);
    assert!(offset_of!(Stamp, digest) == 32);
    assert!(size_of::<DatabaseRecord>() == 1224);
    assert!(offset_of!(DatabaseRecord, id) == 0);
    assert!(offset_of!(DatabaseRecord, name) == 64);
    assert!(offset_of!(DatabaseRecord, default_counter) == 1088);
    assert!(offset_of!(DatabaseRecord, reserved) == 1092);
    assert!(offset_of!(DatabaseRecord, newest) == 1096);
    assert!(offset_of!(DatabaseRecord, previous) == 1160);
};
