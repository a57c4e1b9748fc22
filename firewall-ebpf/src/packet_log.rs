//! Packet log: messages about single packets, only in the build with the feature `packet-log`, which the agent swaps in
//! on demand.

use aya_ebpf::{
    btf_maps::PerCpuArray,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use aya_log_ebpf::info;
use core::net::{Ipv4Addr, Ipv6Addr};
use firewall_common::{CLASS_SYN, CpuState, IPV4, Reason, packet::Flow};

use crate::{
    aligned::Aligned,
    decide::Decision,
    denied_flow::denied_flow,
    handover::{hand_over, time, weigh},
    maps::{PACKET_LOGGER, RECORDERS, state_of_this_cpu},
    recorder::record,
    sampler::is_refused,
};

/// Messages by one CPU in one tick of the kernel's clock (1 to 10 ms).
const BUDGET: u32 = 4;

/// Rate limit of one CPU: the time of its last tick, the messages in it, and whether this packet gets one.
#[repr(C)]
pub struct Pace {
    tick: u64,
    logged: u32,
    due: u32,
}

#[btf_map]
static PACE: PerCpuArray<Pace, 1> = PerCpuArray::new();

/// Replaces [`sample`](crate::handover): its tail call to [`packet_logger`] includes packets that are logged and not
/// recorded.
#[inline(always)]
pub fn sample(state: &mut CpuState, decision: Decision, action: u32, now: u64, ctx: &XdpContext) {
    if decision.is(Reason::NotIp) || decision.is(Reason::NotProtected) {
        return;
    }
    let CpuState { tick, sampler, .. } = state;
    let now = time(now, tick);
    let weight = if is_refused(decision.number()) { weigh(sampler, now) } else { 0 };
    let Some(pace) = PACE.get_ptr_mut(0) else { return };
    // SAFETY: a per-CPU value of this CPU, which runs one XDP program at a time.
    let pace = unsafe { &mut *pace };
    if pace.tick != now {
        pace.tick = now;
        pace.logged = 0;
    }
    pace.due = u32::from(pace.logged < BUDGET);
    pace.logged += pace.due;
    if pace.due == 0 && weight == 0 {
        return;
    }
    hand_over(sampler, decision, action, weight);
    // SAFETY: the target program takes the same context. A successful tail call does not return.
    unsafe { RECORDERS.tail_call(ctx, PACKET_LOGGER) };
    sampler.totals.unrecorded += weight;
}

/// Logs the packet, and records it when it is due; returns the action stored in the sampler.
#[xdp(frags)]
#[inline(always)]
pub fn packet_logger(ctx: XdpContext) -> u32 {
    let action = record(&ctx);
    let Some(pace) = PACE.get_ptr_mut(0) else { return action };
    // SAFETY: as above.
    if unsafe { (*pace).due } != 0 {
        log_packet(&ctx, action);
    }
    action
}

#[inline(always)]
fn log_packet(ctx: &XdpContext, action: u32) {
    let Some(state) = state_of_this_cpu() else { return };
    let answer = state.sampler.handover.answer;
    let mut flow = Aligned::<Flow>::default();
    let class = denied_flow(ctx, &mut flow);
    let (reason, rule) = ((answer >> 24) as u8, answer & 0x00ff_ffff);
    let port = u16::from_be(flow.port);
    let syn = u8::from(class == CLASS_SYN);
    if flow.family == IPV4 {
        let source = Ipv4Addr::from_bits(u32::from_be(flow.source[0]));
        let destination = Ipv4Addr::from_bits(u32::from_be(flow.destination[0]));
        info!(
            ctx,
            "{:i} {:i} {} {} {} {} {} {}",
            source,
            destination,
            port,
            flow.protocol,
            syn,
            reason,
            rule,
            action
        );
    } else {
        info!(
            ctx,
            "{:i} {:i} {} {} {} {} {} {}",
            v6(flow.source),
            v6(flow.destination),
            port,
            flow.protocol,
            syn,
            reason,
            rule,
            action
        );
    }
}

#[inline(always)]
fn v6(words: firewall_common::Address) -> Ipv6Addr {
    Ipv6Addr::from(bytemuck::must_cast::<_, [u8; 16]>(words))
}
