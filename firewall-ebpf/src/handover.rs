//! Hand-over of a refused packet to the program that records it, through this CPU's state.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use firewall_common::{Sampler, Tick};

use crate::{clock::coarse_time, decide::Decision, sampler};

/// Samples a refused packet. Does not return when the packet is recorded: the recorder then ends the run with `action`.
/// `now` is the return value of [`count`](crate::count::count).
#[cfg(not(feature = "packet-log"))]
#[inline(always)]
pub fn sample(
    state: &mut firewall_common::CpuState,
    decision: Decision,
    action: u32,
    now: u64,
    ctx: &aya_ebpf::programs::XdpContext,
) {
    if !sampler::is_refused(decision.number()) {
        return;
    }
    let firewall_common::CpuState { tick, sampler, .. } = state;
    let weight = weigh(sampler, time(now, tick));
    if weight == 0 {
        return;
    }
    hand_over(sampler, decision, action, weight);
    // SAFETY: the target program takes the same context. A successful tail call does not return.
    unsafe { crate::maps::RECORDERS.tail_call(ctx, crate::maps::RECORDER) };
    sampler.totals.unrecorded += weight;
}

/// Counts a refused packet and returns the weight of its record; 0 when it is not recorded.
#[inline(always)]
pub fn weigh(sampler: &mut Sampler, now: u64) -> u64 {
    // SAFETY: a helper without arguments.
    sampler::weigh(sampler, now, || unsafe { bpf_get_prandom_u32() })
}

/// Stores the input of the tail call's target.
#[inline(always)]
pub fn hand_over(sampler: &mut Sampler, decision: Decision, action: u32, weight: u64) {
    sampler.handover.answer = decision.answer();
    sampler.handover.action = action;
    sampler.handover.weight = weight;
}

/// Returns `now`, or reads the kernel's clock when it is 0.
#[inline(always)]
pub fn time(now: u64, tick: &mut Tick) -> u64 {
    if now == 0 { coarse_time(tick) } else { now }
}
