//! The programs of the database firewall: parse → decide → count → act.
//!
//! `firewall` is attached to interfaces: it counts and returns an action. `recorder` is the target of its tail call, after
//! the verdict, with the few refused packets to be recorded. `socket_filter` is attached to a control group, and judges
//! packets again where they enter a socket. `probe` and `socket_probe`, the probe programs, are never attached: they share
//! the decisions ([`decide`](decide::decide), [`socket`]), count nothing and return the reason.
//!
//! The decision, the caches and the sampler are free of kernel types and have unit tests on the host. Everything else
//! compiles for the `bpf` target only; on the host the crate is an empty program, so that workspace-wide commands
//! include it.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(any(test, target_arch = "bpf"))]
mod aligned;
#[cfg(any(test, target_arch = "bpf"))]
mod cache;
#[cfg(any(test, target_arch = "bpf"))]
mod decide;
#[cfg(test)]
mod fake_maps;
#[cfg(any(test, target_arch = "bpf"))]
mod lookup;
#[cfg(any(test, target_arch = "bpf"))]
mod portless;
#[cfg(any(test, target_arch = "bpf"))]
mod sampler;
#[cfg(any(test, target_arch = "bpf"))]
mod socket;

#[cfg(target_arch = "bpf")]
mod accelerations;
#[cfg(target_arch = "bpf")]
mod arrival;
#[cfg(target_arch = "bpf")]
mod baselines;
#[cfg(target_arch = "bpf")]
mod clock;
#[cfg(target_arch = "bpf")]
mod count;
#[cfg(target_arch = "bpf")]
mod denied_flow;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod handover;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(all(target_arch = "bpf", feature = "packet-log"))]
mod packet_log;
#[cfg(target_arch = "bpf")]
mod recorder;
#[cfg(target_arch = "bpf")]
mod runtime;
#[cfg(target_arch = "bpf")]
mod socket_count;
#[cfg(target_arch = "bpf")]
mod socket_storage;
#[cfg(target_arch = "bpf")]
mod socket_verdict;
#[cfg(target_arch = "bpf")]
mod tables;
#[cfg(target_arch = "bpf")]
mod tcp_flags;

#[cfg(target_arch = "bpf")]
use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::{cgroup_skb, xdp},
    programs::{SkBuffContext, XdpContext},
};
#[cfg(target_arch = "bpf")]
use firewall_common::{Reason, fast_path, packet::Flow, socket_filter as socket_filter_bits};

#[cfg(all(target_arch = "bpf", not(feature = "packet-log")))]
use crate::handover::sample;
#[cfg(all(target_arch = "bpf", feature = "packet-log"))]
use crate::packet_log::sample;
#[cfg(target_arch = "bpf")]
use crate::{
    accelerations::{is_on, socket_filter_is},
    aligned::Aligned,
    arrival::Arrival,
    count::count,
    decide::decide,
    frame::Frame,
    maps::state_of_this_cpu,
    socket::{decide_at_any_socket, decide_at_socket, is_admitted},
    socket_verdict::KernelVerdicts,
    tables::{CACHES, KernelCaches, KernelMaps},
    tcp_flags::can_open,
};

/// The attached program.
#[cfg(target_arch = "bpf")]
#[xdp(frags)]
#[inline(always)]
pub fn firewall(ctx: XdpContext) -> u32 {
    filter(&ctx)
}

/// Decides about a packet, counts it, and returns its action.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn filter(ctx: &XdpContext) -> u32 {
    let (mut frame, mut flow, mut caches) = (Frame::new(ctx), Aligned::<Flow>::default(), CACHES);
    let shape = frame.parse(&mut flow);
    let decision = decide(shape, &flow, KernelMaps, Some(&mut caches), || can_open(ctx));
    let action = if decision.passes() { XDP_PASS } else { XDP_DROP };
    if let Some(state) = state_of_this_cpu() {
        let now = count(state, decision, frame.length());
        if !is_on(fast_path::UNRECORDED) {
            sample(state, decision, action, now, ctx);
        }
    }
    action
}

/// The probe program: answers with [`Reason::answer`] and has no side effect.
#[cfg(target_arch = "bpf")]
#[xdp(frags)]
#[inline(always)]
pub fn probe(ctx: XdpContext) -> u32 {
    let mut flow = Aligned::<Flow>::default();
    let shape = Frame::new(&ctx).parse(&mut flow);
    let decision = decide(shape, &flow, KernelMaps, None::<&mut KernelCaches>, || can_open(&ctx));
    decision.answer()
}

/// The program attached to a control group: 1 lets a packet enter its socket, 0 drops it.
#[cfg(target_arch = "bpf")]
#[cgroup_skb(ingress)]
#[inline(always)]
pub fn socket_filter(ctx: SkBuffContext) -> i32 {
    const PASS: i32 = 1;
    const DROP: i32 = 0;
    let Some(mut arrival) = Arrival::new(&ctx) else { return PASS };
    if is_admitted(&arrival, KernelMaps) {
        socket_count::count_admitted(&arrival);
        return PASS;
    }
    let mut flow = Aligned::<Flow>::default();
    let shape = arrival.parse(&mut flow);
    let decision = decide_at_socket(shape, &mut flow, &arrival, KernelMaps, &KernelVerdicts);
    if decision.is(Reason::NotProtected) {
        return PASS;
    }
    socket_count::count(decision, &flow, &arrival);
    if decision.passes() || !socket_filter_is(socket_filter_bits::ENFORCE) { PASS } else { DROP }
}

/// The probe program of the socket filter: answers with [`Reason::answer`] for a packet to a listener, and has no side
/// effect. A program of another type, since one at a socket can return only two values.
#[cfg(target_arch = "bpf")]
#[xdp(frags)]
#[inline(always)]
pub fn socket_probe(ctx: XdpContext) -> u32 {
    let mut flow = Aligned::<Flow>::default();
    let shape = Frame::new(&ctx).parse(&mut flow);
    let decision = decide_at_any_socket(shape, &flow, KernelMaps, None::<&mut KernelCaches>);
    decision.answer()
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
