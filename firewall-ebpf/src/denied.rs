//! Which refused packets are written down, at a bounded rate.
//!
//! While there are few, each is. Under a flood one in `stride` is, and stands for all since the one before, so that a
//! source's count is right about its share of the flood; the stride follows the flood, so that a CPU writes about
//! [`BUDGET`] records each time the kernel's clock ticks. A packet that is not written down costs one look at this
//! CPU's own gate. The verdict is made before, and nothing here can change it.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use firewall_common::{DenialGate, Reason};

use crate::{clock::coarse_time, decide::Decision, maps::DENIAL_GATE};

/// Records that one CPU writes in one tick of the kernel's clock (1 to 10 ms); while a flood sets in, a few times that.
const BUDGET: u32 = 16;
/// After so many nanoseconds without a refused packet a flood is over.
const QUIET: u64 = 50_000_000;
const MAX_STRIDE: u32 = 1 << 20;

/// Returns, unless the packet is written down: the recorder then ends the run with `action`. `now` is what
/// [`count`](crate::count::count) returned.
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
    // SAFETY: the program there takes the same context. A call that succeeds does not return.
    unsafe { crate::maps::RECORDERS.tail_call(ctx, crate::maps::RECORDER) };
    gate.lost += stands_for;
}

#[inline(always)]
fn is_refused(reason: Reason) -> bool {
    !reason.passes() || reason == Reason::WouldDeny
}

/// This CPU's gate.
#[inline(always)]
pub fn gate() -> Option<&'static mut DenialGate> {
    // SAFETY: a per-CPU value of this CPU, which runs one XDP program at a time.
    DENIAL_GATE.get_ptr_mut(0).map(|gate| unsafe { &mut *gate })
}

/// What was decided, for the program that is gone over to.
#[inline(always)]
pub fn leave(gate: &mut DenialGate, decision: &Decision, action: u32) {
    gate.answer = decision.reason.answer(decision.rule);
    gate.action = action;
}

/// The kernel's clock, unless it has been read.
#[inline(always)]
pub fn time(now: u64) -> u64 {
    if now == 0 { coarse_time() } else { now }
}

/// How many packets the record of this one stands for; 0 when it is not written down.
#[inline(always)]
pub fn due(reason: Reason, gate: &mut DenialGate, now: u64) -> u64 {
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

/// The clock moved: the next stride follows from what came since it last did.
#[inline(always)]
fn ticked(gate: &mut DenialGate, now: u64) {
    // Packets since the last record: what is left of the draw is not to come any more.
    let passed = u64::from(gate.drawn - gate.left);
    gate.window += passed;
    gate.pending += passed;
    gate.stride = 1;
    if now - gate.tick > QUIET {
        // Whatever comes now has nothing to do with what came then.
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

/// A random number of packets, `stride` on average: sources that take turns are not to fall in step with the samples.
#[inline(always)]
fn draw(stride: u32) -> u32 {
    if stride <= 1 {
        return 1;
    }
    // SAFETY: the helper takes nothing.
    1 + unsafe { bpf_get_prandom_u32() } % (2 * stride - 1)
}
