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
    /// The rule counter of the packet, a database's default counter or that of a block; [`crate::NO_RULE`] when neither
    /// decided.
    pub counter: u32,
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

/// The sampler of one CPU: selects the refused packets to record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Sampler {
    pub totals: DenialTotals,
    pub rate: SamplingRate,
    pub handover: Handover,
}

/// Refused packets of one CPU. The difference `seen` − `recorded` − `unrecorded` is the packets since the last record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct DenialTotals {
    /// Packets.
    pub seen: u64,
    /// Packets represented by records.
    pub recorded: u64,
    /// Packets without a record: the table refused the entry, or a flood ended before the next record.
    pub unrecorded: u64,
    /// Records written.
    pub records: u64,
}

/// State of the sampling rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SamplingRate {
    /// `CLOCK_MONOTONIC` at the last packet, in nanoseconds.
    pub tick: u64,
    /// [`DenialTotals::seen`] when the clock last moved.
    pub start: u64,
    /// [`DenialTotals::seen`] at the next record.
    pub next: u64,
    /// One packet in `stride` is recorded, on average.
    pub stride: u64,
}

/// Input of the recorder, for one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Handover {
    /// Packets represented by the record; 0 when the packet is not recorded.
    pub weight: u64,
    /// [`crate::Reason::answer`] of the packet.
    pub answer: u32,
    /// The XDP action for the packet.
    pub action: u32,
}

const _: () = {
    assert!(size_of::<Denial>() == 44);
    assert!(offset_of!(Denial, source) == 0);
    assert!(offset_of!(Denial, destination) == 16);
    assert!(offset_of!(Denial, port) == 32);
    assert!(offset_of!(Denial, protocol) == 34);
    assert!(offset_of!(Denial, family) == 35);
    assert!(offset_of!(Denial, counter) == 36);
    assert!(offset_of!(Denial, reason) == 40);
    assert!(offset_of!(Denial, class) == 41);
    assert!(offset_of!(Denial, cpu) == 42);
    assert!(size_of::<Denials>() == 24);
    assert!(offset_of!(Denials, packets) == 0);
    assert!(offset_of!(Denials, first_seen) == 8);
    assert!(offset_of!(Denials, last_seen) == 16);
    assert!(size_of::<Sampler>() == 80);
    assert!(offset_of!(Sampler, totals) == 0);
    assert!(offset_of!(Sampler, rate) == 32);
    assert!(offset_of!(Sampler, handover) == 64);
    assert!(size_of::<DenialTotals>() == 32);
    assert!(offset_of!(DenialTotals, seen) == 0);
    assert!(offset_of!(DenialTotals, recorded) == 8);
    assert!(offset_of!(DenialTotals, unrecorded) == 16);
    assert!(offset_of!(DenialTotals, records) == 24);
    assert!(size_of::<SamplingRate>() == 32);
    assert!(offset_of!(SamplingRate, tick) == 0);
    assert!(offset_of!(SamplingRate, start) == 8);
    assert!(offset_of!(SamplingRate, next) == 16);
    assert!(offset_of!(SamplingRate, stride) == 24);
    assert!(size_of::<Handover>() == 16);
    assert!(offset_of!(Handover, weight) == 0);
    assert!(offset_of!(Handover, answer) == 8);
    assert!(offset_of!(Handover, action) == 12);
};
