//! The state of one CPU.

use core::mem::{offset_of, size_of};

use bytemuck::{Pod, Zeroable};

use crate::{Reason, Sampler, SocketTraffic, Tally};

/// The state of one CPU in one value, so that a packet finds all of it with one lookup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CpuState {
    /// Packets and bytes by the number of their [`Reason`].
    pub reasons: [Tally; Reason::COUNTERS],
    pub tick: Tick,
    pub sampler: Sampler,
    pub sessions: SessionTally,
}

/// The last tick of the kernel's clock seen by a CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Tick {
    /// The kernel's `jiffies`.
    pub number: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub time: u64,
}

/// Packets of admitted sessions from one interface that are not in the table of packets judged at a socket yet: they are
/// added there when the interface changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SessionTally {
    pub key: SocketTraffic,
    pub tally: Tally,
}

const _: () = {
    assert!(size_of::<CpuState>() == 632);
    assert!(offset_of!(CpuState, reasons) == 0);
    assert!(offset_of!(CpuState, tick) == 512);
    assert!(offset_of!(CpuState, sampler) == 528);
    assert!(offset_of!(CpuState, sessions) == 608);
    assert!(size_of::<Tick>() == 16);
    assert!(offset_of!(Tick, number) == 0);
    assert!(offset_of!(Tick, time) == 8);
    assert!(size_of::<SessionTally>() == 24);
    assert!(offset_of!(SessionTally, key) == 0);
    assert!(offset_of!(SessionTally, tally) == 8);
};
