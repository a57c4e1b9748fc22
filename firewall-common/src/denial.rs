//! Keys and values of the table of refused sources, and the per-CPU sampler that fills it.

use core::mem::{offset_of, size_of};

use bytemuck::{Pod, Zeroable};

use crate::Address;

/// [`Denial::class`]: neither TCP nor UDP, or unknown (a fragment, a broken header).
pub const CLASS_NONE: u8 = 0;
/// [`Denial::class`]: the first packet of a TCP connection.
pub const CLASS_SYN: u8 = 1;
/// [`Denial::class`]: any other TCP packet.
pub const CLASS_TCP: u8 = 2;
/// [`Denial::class`]: UDP.
pub const CLASS_UDP: u8 = 3;

/// Entries of the table of refused sources, shared by all databases; the least recently seen entry is evicted.
pub const DENIALS_SIZE: u32 = 8192;

/// A refused source, its destination, and the reason. Fields that could not be parsed are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Denial {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Destination port in network byte order.
    pub port: u16,
    /// IP protocol number: 6, 17, or 0.
    pub protocol: u8,
    /// [`crate::IPV4`], [`crate::IPV6`], or 0 when the addresses are not known.
    pub family: u8,
    /// The rule counter of the packet, a database's default counter; [`crate::NO_RULE`] when no database decided.
    pub line: u32,
    /// Number of the [`crate::Reason`].
    pub reason: u8,
    /// [`CLASS_NONE`], [`CLASS_SYN`], [`CLASS_TCP`] or [`CLASS_UDP`].
    pub class: u8,
    /// The CPU that writes this entry, the lower 16 bits of its number. It is the only writer, so additions need not be
    /// atomic.
    pub cpu: u16,
}

/// Packet count and times of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Denials {
    /// Packets that the entry represents: every packet at a low rate, sampled under a flood.
    pub packets: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds, at the resolution of the kernel's tick.
    pub first_seen: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds, at the resolution of the kernel's tick.
    pub last_seen: u64,
}

/// The sampler of one CPU: selects the refused packets to record. It has seen `booked` + `lost` + `pending` + `drawn` −
/// `left` packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Sampler {
    /// Packets represented by records.
    pub booked: u64,
    /// Packets without a record: the table refused the entry, or a flood ended before the next record.
    pub lost: u64,
    /// Packets since the last record and before the last draw.
    pub pending: u64,
    /// Records written.
    pub records: u64,
    /// `CLOCK_MONOTONIC` at the last packet, in nanoseconds.
    pub tick: u64,
    /// Packets since the clock last moved and before the last draw.
    pub window: u64,
    /// Records since the clock last moved.
    pub spent: u32,
    /// The sampling rate: one packet in `stride` is recorded.
    pub stride: u32,
    /// Packets from the last random draw to the next record.
    pub drawn: u32,
    /// Packets of `drawn` still to come.
    pub left: u32,
    /// For the recorder: [`crate::Reason::answer`] of its packet.
    pub answer: u32,
    /// For the recorder: the XDP action for its packet.
    pub action: u32,
    /// For the recorder: packets represented by its record.
    pub stands_for: u64,
}

const _: () = {
    assert!(size_of::<Denial>() == 44);
    assert!(offset_of!(Denial, source) == 0);
    assert!(offset_of!(Denial, destination) == 16);
    assert!(offset_of!(Denial, port) == 32);
    assert!(offset_of!(Denial, protocol) == 34);
    assert!(offset_of!(Denial, family) == 35);
    assert!(offset_of!(Denial, line) == 36);
    assert!(offset_of!(Denial, reason) == 40);
    assert!(offset_of!(Denial, class) == 41);
    assert!(offset_of!(Denial, cpu) == 42);
    assert!(size_of::<Denials>() == 24);
    assert!(offset_of!(Denials, packets) == 0);
    assert!(offset_of!(Denials, first_seen) == 8);
    assert!(offset_of!(Denials, last_seen) == 16);
    assert!(size_of::<Sampler>() == 80);
    assert!(offset_of!(Sampler, booked) == 0);
    assert!(offset_of!(Sampler, lost) == 8);
    assert!(offset_of!(Sampler, pending) == 16);
    assert!(offset_of!(Sampler, records) == 24);
    assert!(offset_of!(Sampler, tick) == 32);
    assert!(offset_of!(Sampler, window) == 40);
    assert!(offset_of!(Sampler, spent) == 48);
    assert!(offset_of!(Sampler, stride) == 52);
    assert!(offset_of!(Sampler, drawn) == 56);
    assert!(offset_of!(Sampler, left) == 60);
    assert!(offset_of!(Sampler, answer) == 64);
    assert!(offset_of!(Sampler, action) == 68);
    assert!(offset_of!(Sampler, stands_for) == 72);
};
