//! The counters, per CPU, so that no packet waits for another.

use firewall_common::{CpuState, NO_RULE, Reason};

use crate::{clock::coarse_time, decide::Decision, maps::RULE_HITS};

/// Counts a packet and returns the time set on its rule counter, in nanoseconds; 0 when no rule decided.
#[inline(always)]
pub fn count(state: &mut CpuState, decision: Decision, length: usize) -> u64 {
    let bytes = length as u64;
    if let Some(tally) = state.reasons.get_mut(decision.number() as usize % Reason::COUNTERS) {
        tally.packets += 1;
        tally.bytes += bytes;
    }
    if decision.rule() == NO_RULE {
        return 0;
    }
    let now = coarse_time(&mut state.tick);
    if let Some(hits) = RULE_HITS.get_ptr_mut(decision.rule()) {
        // SAFETY: a per-CPU value of this CPU, which runs one XDP program at a time.
        unsafe {
            (*hits).packets += 1;
            (*hits).bytes += bytes;
            (*hits).last_seen = now;
        }
    }
    now
}
