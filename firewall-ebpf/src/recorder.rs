//! Records one refused packet. A separate program: inlined after each verdict it would be more than the verifier
//! follows, and the hot path is faster when it need not save the packet's fields.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, xdp_action::XDP_DROP},
    helpers::generated::bpf_get_smp_processor_id,
    programs::XdpContext,
};
use firewall_common::{Denial, Denials, packet::Flow};

use crate::{denied_flow::denied_flow, maps::DENIALS, sampler::gate};

/// Target of the tail call in [`note`](crate::sampler::note), with its input in the sampler; returns the action stored there.
#[cfg(not(feature = "packet-log"))]
#[aya_ebpf::macros::xdp(frags)]
pub fn recorder(ctx: XdpContext) -> u32 {
    write_down(&ctx)
}

/// Records the packet when it is due; returns the action stored in the sampler.
#[inline(always)]
pub fn write_down(ctx: &XdpContext) -> u32 {
    // `note` makes the tail call only with a sampler.
    let Some(gate) = gate() else { return XDP_DROP };
    if gate.stands_for == 0 {
        return gate.action;
    }
    let mut flow = Flow::default();
    let class = denied_flow(ctx, &mut flow);
    let Flow { source, destination, port, protocol, family } = flow;
    let (reason, line) = ((gate.answer >> 24) as u8, gate.answer & 0x00ff_ffff);
    // SAFETY: a helper without arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u16;
    let key = Denial { source, destination, port, protocol, family, line, reason, class, cpu };
    if record(&key, gate.stands_for, gate.tick) {
        gate.booked += gate.stands_for;
        gate.records += 1;
    } else {
        gate.lost += gate.stands_for;
    }
    gate.action
}

/// Returns whether the table accepted the record.
#[inline(always)]
fn record(key: &Denial, packets: u64, now: u64) -> bool {
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
