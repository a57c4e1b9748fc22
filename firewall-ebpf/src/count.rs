//! The counters: per CPU, so that no packet waits for another.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use firewall_common::NO_RULE;

use crate::{
    decide::Decision,
    maps::{REASONS, RULE_HITS},
};

/// Counts a packet, and returns the time that it noted on the rule; 0 when no rule decided.
#[inline(always)]
pub fn count(decision: &Decision, length: usize) -> u64 {
    let bytes = length as u64;
    if let Some(tally) = REASONS.get_ptr_mut(decision.reason as u32) {
        // SAFETY: a per-CPU value of this CPU, which runs one XDP program at a time.
        unsafe {
            (*tally).packets += 1;
            (*tally).bytes += bytes;
        }
    }
    if decision.rule == NO_RULE {
        return 0;
    }
    // SAFETY: the helper takes nothing and changes nothing.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    if let Some(hits) = RULE_HITS.get_ptr_mut(decision.rule) {
        // SAFETY: as above.
        unsafe {
            (*hits).packets += 1;
            (*hits).bytes += bytes;
            (*hits).last_seen = now;
        }
    }
    now
}
