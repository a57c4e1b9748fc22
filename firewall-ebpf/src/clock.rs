//! The time of a hit, read once per tick.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};

use crate::maps::TICK;

/// The last tick seen by this CPU.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Tick {
    number: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    time: u64,
}

/// `CLOCK_MONOTONIC` in nanoseconds, at the resolution of the kernel's tick. Reading the time is a call, reading the
/// tick number a load: the time is read once a tick.
#[inline(always)]
pub fn coarse_time() -> u64 {
    let Some(tick) = TICK.get_ptr_mut(0) else { return now() };
    // SAFETY: a helper without arguments; a per-CPU value of this CPU, which runs one XDP program at a time.
    unsafe {
        let number = bpf_jiffies64();
        if (*tick).number != number {
            *tick = Tick { number, time: now() };
        }
        (*tick).time
    }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_coarse_ns() }
}
