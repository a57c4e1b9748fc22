//! The XDP program of the database firewall: parse → decide → count → act.
//!
//! Two programs share [`decide`](decide::decide). `firewall` is attached: it counts and returns an action. `probe`, the
//! probe program, is never attached: it counts nothing and returns the reason. `recorder` is the target of a tail call
//! of `firewall`, after the verdict, with the few refused packets to be recorded.
//!
//! The decision, the caches and the sampler are free of kernel types and have unit tests on the host. Everything else
//! compiles for the `bpf` target only; on the host the crate is an empty program, so that workspace-wide commands
//! include it.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

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

#[cfg(target_arch = "bpf")]
mod accelerations;
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
mod tables;

#[cfg(target_arch = "bpf")]
use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::xdp,
    programs::XdpContext,
};
#[cfg(target_arch = "bpf")]
use firewall_common::{Reason, fast_path, packet::Flow};

#[cfg(all(target_arch = "bpf", not(feature = "packet-log")))]
use crate::handover::sample;
#[cfg(all(target_arch = "bpf", feature = "packet-log"))]
use crate::packet_log::sample;
#[cfg(target_arch = "bpf")]
use crate::{
    accelerations::is_on,
    count::count,
    decide::decide,
    frame::Frame,
    tables::{CACHES, KernelCaches, KernelMaps},
};

/// The attached program.
#[cfg(target_arch = "bpf")]
#[xdp(frags)]
pub fn firewall(ctx: XdpContext) -> u32 {
    filter(&ctx)
}

/// Decides about a packet, counts it, and returns its action.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn filter(ctx: &XdpContext) -> u32 {
    let (mut frame, mut flow, mut caches) = (Frame::new(ctx), Flow::default(), CACHES);
    let shape = frame.parse(&mut flow);
    let decision = decide(shape, &flow, KernelMaps, Some(&mut caches));
    let now = count(&decision, frame.length());
    let action = match decision.reason {
        Reason::NotIp | Reason::NotProtected | Reason::Allowed | Reason::WouldDeny => XDP_PASS,
        Reason::VlanDepth
        | Reason::Malformed
        | Reason::NoMatch
        | Reason::Closed
        | Reason::NoPort
        | Reason::Fragment => XDP_DROP,
    };
    if !is_on(fast_path::UNRECORDED) {
        sample(&decision, action, now, ctx);
    }
    action
}

/// The probe program: answers with [`Reason::answer`] and has no side effect.
#[cfg(target_arch = "bpf")]
#[xdp(frags)]
pub fn probe(ctx: XdpContext) -> u32 {
    let mut flow = Flow::default();
    let shape = Frame::new(&ctx).parse(&mut flow);
    let decision = decide(shape, &flow, KernelMaps, None::<&mut KernelCaches>);
    decision.reason.answer(decision.rule)
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
