//! Sampling of refused packets, at a bounded rate.
//!
//! At a low rate every packet is recorded. Under a flood one in `stride` is, and its weight covers all packets since
//! the record before, so that a source's count reflects its share of the flood. The stride follows the flood, so that a
//! CPU writes about [`BUDGET`] records per tick of the kernel's clock. An unrecorded packet costs one access to this
//! CPU's own sampler. The verdict is final before sampling.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use firewall_common::{Reason, Sampler};

use crate::{clock::coarse_time, decide::Decision, maps::SAMPLER};

/// Records written by one CPU in one tick of the kernel's clock (1 to 10 ms); a few times that while a flood sets in.
const BUDGET: u32 = 16;
/// Nanoseconds without a refused packet after which a flood is over.
const QUIET: u64 = 50_000_000;
const MAX_STRIDE: u32 = 1 << 20;

/// Samples a refused packet. Does not return when the packet is recorded: the recorder then ends the run with `action`.
/// `now` is the return value of [`count`](crate::count::count).
#[cfg(not(feature = "packet-log"))]
#[inline(always)]
pub fn note(decision: &Decision, action: u32, now: u64, ctx: &aya_ebpf::programs::XdpContext) {
    if !is_refused(decision.reason) {
        return;
    }
    let Some(gate) = gate() else { return };
    let stands_for = due(decision.reason, gate, time(now));
    if stands_for == 0 {
        return;
    }
    leave(gate, decision, action);
    gate.stands_for = stands_for;
    // SAFETY: the target program takes the same context. A successful tail call does not return.
    unsafe { crate::maps::RECORDERS.tail_call(ctx, crate::maps::RECORDER) };
    gate.lost += stands_for;
}

#[inline(always)]
fn is_refused(reason: Reason) -> bool {
    !reason.passes() || reason == Reason::WouldDeny
}

/// This CPU's sampler.
#[inline(always)]
pub fn gate() -> Option<&'static mut Sampler> {
    // SAFETY: a per-CPU value of this CPU, which runs one XDP program at a time.
    SAMPLER.get_ptr_mut(0).map(|gate| unsafe { &mut *gate })
}

/// Stores the decision for the target of the tail call.
#[inline(always)]
pub fn leave(gate: &mut Sampler, decision: &Decision, action: u32) {
    gate.answer = decision.reason.answer(decision.rule);
    gate.action = action;
}

/// Returns `now`, or reads the kernel's clock when it is 0.
#[inline(always)]
pub fn time(now: u64) -> u64 {
    if now == 0 { coarse_time() } else { now }
}

/// The weight of this packet's record; 0 when it is not recorded.
#[inline(always)]
pub fn due(reason: Reason, gate: &mut Sampler, now: u64) -> u64 {
    if !is_refused(reason) {
        return 0;
    }
    if gate.tick != now {
        ticked(gate, now);
    }
    if gate.left > 1 {
        gate.left -= 1;
        return 0;
    }
    gate.window += u64::from(gate.drawn);
    gate.spent += 1;
    if gate.spent % BUDGET == 0 && gate.stride < MAX_STRIDE {
        gate.stride *= 2;
    }
    let stands_for = gate.pending + u64::from(gate.drawn);
    gate.pending = 0;
    gate.drawn = draw(gate.stride);
    gate.left = gate.drawn;
    stands_for
}

/// Starts a new tick: derives the next stride from the packets of the last one.
#[inline(always)]
fn ticked(gate: &mut Sampler, now: u64) {
    // Packets since the last record; the rest of the draw is void.
    let passed = u64::from(gate.drawn - gate.left);
    gate.window += passed;
    gate.pending += passed;
    gate.stride = 1;
    if now - gate.tick > QUIET {
        // These packets do not belong to the next flood.
        gate.lost += gate.pending;
        gate.pending = 0;
    } else if gate.window > u64::from(BUDGET) {
        gate.stride = (gate.window / u64::from(BUDGET)) as u32;
    }
    gate.drawn = draw(gate.stride);
    gate.left = gate.drawn;
    gate.tick = now;
    gate.window = 0;
    gate.spent = 0;
}

/// A random number of packets, `stride` on average, so that alternating sources do not fall in step with the samples.
#[inline(always)]
fn draw(stride: u32) -> u32 {
    if stride <= 1 {
        return 1;
    }
    // SAFETY: a helper without arguments.
    1 + unsafe { bpf_get_prandom_u32() } % (2 * stride - 1)
}
