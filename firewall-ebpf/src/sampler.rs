//! Sampling of refused packets, at a bounded rate.
//!
//! At a low rate every packet is recorded. Under a flood one in `stride` is, and its weight covers all packets since
//! the record before, so that a source's count reflects its share of the flood. The stride follows the flood, so that a
//! CPU writes about [`BUDGET`] records per tick of the kernel's clock. An unrecorded packet costs one access to this
//! CPU's own sampler. The verdict is final before sampling.

#[cfg(test)]
mod tests;

use firewall_common::{DenialTotals, Reason, Sampler, SamplingRate};

/// Records written by one CPU in one tick of the kernel's clock (1 to 10 ms); a few times that while a flood sets in.
const BUDGET: u64 = 16;
/// Nanoseconds without a refused packet after which a flood is over.
const QUIET: u64 = 50_000_000;
const MAX_STRIDE: u64 = 1 << 20;

/// Bits of the reasons whose packets are recorded, by their numbers: those refused, and those that monitor mode lets pass.
const REFUSED: u32 = {
    let (mut bits, mut at) = (0, 0);
    while at < Reason::ALL.len() {
        let is_refused = !Reason::ALL[at].passes() || matches!(Reason::ALL[at], Reason::WouldDeny);
        bits |= (is_refused as u32) << at;
        at += 1;
    }
    bits
};

/// Returns whether packets with the reason of this number are recorded.
#[inline(always)]
pub fn is_refused(reason: u32) -> bool {
    REFUSED >> (reason % u32::BITS) & 1 != 0
}

/// Counts one refused packet, at a time in nanoseconds, and returns the weight of its record; 0 when it is not recorded.
#[inline(always)]
pub fn weigh(sampler: &mut Sampler, now: u64, random: impl Fn() -> u32) -> u64 {
    let Sampler { totals, rate, .. } = sampler;
    if rate.tick != now {
        start_tick(totals, rate, now);
        rate.next = totals.seen + draw(rate.stride, &random);
    }
    totals.seen += 1;
    if totals.seen < rate.next {
        return 0;
    }
    rate.stride = rate.stride.max(stride_of(totals.seen - rate.start));
    rate.next = totals.seen + draw(rate.stride, &random);
    pending(totals)
}

/// Derives the stride of a new tick from the packets of the last one.
#[inline(always)]
fn start_tick(totals: &mut DenialTotals, rate: &mut SamplingRate, now: u64) {
    if now - rate.tick > QUIET {
        // The pending packets do not belong to the next flood.
        totals.unrecorded += pending(totals);
        rate.stride = 1;
    } else {
        rate.stride = stride_of(totals.seen - rate.start);
    }
    rate.start = totals.seen;
    rate.tick = now;
}

/// Packets since the last record.
#[inline(always)]
fn pending(totals: &DenialTotals) -> u64 {
    totals.seen - totals.recorded - totals.unrecorded
}

/// The stride that gives [`BUDGET`] records for this number of packets.
#[inline(always)]
fn stride_of(packets: u64) -> u64 {
    (packets / BUDGET).clamp(1, MAX_STRIDE)
}

/// A random number of packets, `stride` on average, so that alternating sources do not fall in step with the samples.
#[inline(always)]
fn draw(stride: u64, random: impl Fn() -> u32) -> u64 {
    if stride <= 1 {
        return 1;
    }
    1 + u64::from(random()) % (2 * stride - 1)
}
