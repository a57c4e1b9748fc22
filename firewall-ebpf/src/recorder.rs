//! Writes down one refused packet: a program of its own, since what it does is more than the verifier would follow
//! behind each way to a verdict, and since the hot path is faster when nothing of the packet has to be kept for it.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, xdp_action::XDP_DROP},
    helpers::generated::bpf_get_smp_processor_id,
    programs::XdpContext,
};
use firewall_common::{Denial, Denials, packet::Flow};

use crate::{denied::gate, look::look, maps::DENIALS};

/// Entered from [`note`](crate::denied) with what it left in the gate; returns the action that it left there.
#[cfg(not(feature = "packet-log"))]
#[aya_ebpf::macros::xdp(frags)]
pub fn recorder(ctx: XdpContext) -> u32 {
    write_down(&ctx)
}

/// Writes the packet down when that is due; returns the action that was left in the gate.
#[inline(always)]
pub fn write_down(ctx: &XdpContext) -> u32 {
    // Without its gate this was not entered from there.
    let Some(gate) = gate() else { return XDP_DROP };
    if gate.stands_for == 0 {
        return gate.action;
    }
    let mut flow = Flow::default();
    let class = look(ctx, &mut flow);
    let Flow { source, destination, port, protocol, family } = flow;
    let (reason, line) = ((gate.answer >> 24) as u8, gate.answer & 0x00ff_ffff);
    // SAFETY: the helper takes nothing.
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

/// Whether the table took it.
#[inline(always)]
fn record(key: &Denial, packets: u64, now: u64) -> bool {
    if let Some(entry) = DENIALS.get_ptr_mut(key) {
        // SAFETY: the entry stays memory of the table until this program has ended, and only this CPU writes to it.
        unsafe {
            (*entry).packets += packets;
            (*entry).last_seen = now;
        }
        return true;
    }
    let entry = Denials { packets, first_seen: now, last_seen: now };
    DENIALS.insert(key, &entry, u64::from(BPF_NOEXIST)).is_ok()
}
