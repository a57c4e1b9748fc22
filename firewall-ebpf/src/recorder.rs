//! Records one refused packet. A separate program: inlined after each verdict it would be more than the verifier
//! follows, and the hot path is faster when it need not save the packet's fields.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, xdp_action::XDP_DROP},
    helpers::generated::bpf_get_smp_processor_id,
    programs::XdpContext,
};
use firewall_common::{CpuState, Denial, Denials, Handover, packet::Flow};

use crate::{
    aligned::Aligned,
    denied_flow::denied_flow,
    maps::{DENIALS, state_of_this_cpu},
};

/// Target of the tail call in [`sample`](crate::handover::sample), with its input in the sampler; returns the action
/// stored there.
#[cfg(not(feature = "packet-log"))]
#[aya_ebpf::macros::xdp(frags)]
#[inline(always)]
pub fn recorder(ctx: XdpContext) -> u32 {
    record(&ctx)
}

/// Records the packet when it is due; returns the action stored in the sampler.
#[inline(always)]
pub fn record(ctx: &XdpContext) -> u32 {
    // `sample` makes the tail call only with a state.
    let Some(CpuState { sampler, .. }) = state_of_this_cpu() else { return XDP_DROP };
    let Handover { weight, answer, action } = sampler.handover;
    if weight == 0 {
        return action;
    }
    let mut flow = Aligned::<Flow>::default();
    let class = denied_flow(ctx, &mut flow);
    let Flow { source, destination, port, protocol, family } = *flow;
    let (reason, counter) = ((answer >> 24) as u8, answer & 0x00ff_ffff);
    // SAFETY: a helper without arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u16;
    let key = Denial { source, destination, port, protocol, family, counter, reason, class, cpu };
    if insert(&key, weight, sampler.rate.tick) {
        sampler.totals.recorded += weight;
        sampler.totals.records += 1;
    } else {
        sampler.totals.unrecorded += weight;
    }
    action
}

/// Returns whether the table accepted the record.
#[inline(always)]
fn insert(key: &Denial, packets: u64, now: u64) -> bool {
    if let Some(entry) = DENIALS.get_ptr_mut(key) {
        // SAFETY: the entry stays memory of the table until this program run ends, and only this CPU writes to it.
        unsafe {
            (*entry).packets += packets;
            (*entry).last_seen = now;
        }
        return true;
    }
    let entry = Denials { packets, first_seen: now, last_seen: now };
    DENIALS.insert(key, &entry, u64::from(BPF_NOEXIST)).is_ok()
}
