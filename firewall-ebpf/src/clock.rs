//! The time of a hit, read once per tick.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use firewall_common::Tick;

/// `CLOCK_MONOTONIC` in nanoseconds, at the resolution of the kernel's tick. Reading the time is a call, reading the
/// tick number a load: the time is read once a tick.
#[inline(always)]
pub fn coarse_time(tick: &mut Tick) -> u64 {
    // SAFETY: helpers without arguments.
    unsafe {
        let number = bpf_jiffies64();
        if tick.number != number {
            *tick = Tick { number, time: bpf_ktime_get_coarse_ns() };
        }
    }
    tick.time
}
