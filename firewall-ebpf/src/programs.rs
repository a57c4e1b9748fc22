//! The entry points.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::xdp,
    programs::XdpContext,
};
use firewall_common::{Reason, stages};

#[cfg(not(feature = "packet-log"))]
use crate::denied::note;
#[cfg(feature = "packet-log")]
use crate::packet_log::note;
use crate::{count::count, decide::decide, frame::Frame, stages::is_on};

/// The attached program.
#[xdp(frags)]
pub fn firewall(ctx: XdpContext) -> u32 {
    filter(&ctx)
}

#[inline(always)]
pub fn filter(ctx: &XdpContext) -> u32 {
    let mut frame = Frame::new(ctx);
    let decision = decide::<true>(&mut frame);
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
    if !is_on(stages::UNRECORDED) {
        note(&decision, action, now, ctx);
    }
    action
}

/// The probe program: answers with [`Reason::answer`] and has no side effect.
#[xdp(frags)]
pub fn probe(ctx: XdpContext) -> u32 {
    let decision = decide::<false>(&mut Frame::new(&ctx));
    decision.reason.answer(decision.rule)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never compiled in: the verifier rejects an endless loop.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
