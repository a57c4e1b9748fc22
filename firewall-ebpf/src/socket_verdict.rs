//! The verdicts at a socket, as functions that the verifier checks once, on their own. Inlined after every way of parsing
//! and for every state of a socket, they would be more than it follows.

use firewall_common::{NO_RULE, Reason, SocketMark, packet::Flow};

use crate::{
    decide::Decision,
    portless::{PortlessRule, decide_portless},
    socket::{Verdicts, by_port},
    tables::{CACHES, KernelMaps},
};

/// Calls the functions of this file.
pub struct KernelVerdicts;

impl Verdicts for KernelVerdicts {
    #[inline(always)]
    fn by_port(&self, flow: &Flow, mark: Option<&mut SocketMark>) -> Decision {
        decision(judge_by_port(flow, mark.map_or(core::ptr::null_mut(), core::ptr::from_mut)))
    }

    #[inline(always)]
    fn portless(&self, flow: &Flow) -> Decision {
        decision(judge_portless(flow))
    }
}

/// The decision in an answer.
#[inline(always)]
fn decision(answer: u32) -> Decision {
    let reason = match answer >> 24 {
        ALLOWED => Reason::Allowed,
        NO_MATCH => Reason::NoMatch,
        WOULD_DENY => Reason::WouldDeny,
        CLOSED => Reason::Closed,
        NO_PORT => Reason::NoPort,
        BLOCKED => Reason::Blocked,
        _ => Reason::NotProtected,
    };
    Decision { reason, rule: answer & 0x00ff_ffff }
}

const ALLOWED: u32 = Reason::Allowed as u32;
const NO_MATCH: u32 = Reason::NoMatch as u32;
const WOULD_DENY: u32 = Reason::WouldDeny as u32;
const CLOSED: u32 = Reason::Closed as u32;
const NO_PORT: u32 = Reason::NoPort as u32;
const BLOCKED: u32 = Reason::Blocked as u32;

/// Answers with [`Reason::answer`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_by_port(flow: *const Flow, mark: *mut SocketMark) -> u32 {
    // SAFETY: null, or the flow and the mark of this program run.
    let (flow, mark) = unsafe { (flow.as_ref(), mark.as_mut()) };
    let Some(flow) = flow else { return Reason::NotProtected.answer(NO_RULE) };
    let mut caches = CACHES;
    let decision = by_port(flow, KernelMaps, Some(&mut caches), mark);
    decision.reason.answer(decision.rule)
}

/// Answers with [`Reason::answer`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_portless(flow: *const Flow) -> u32 {
    // SAFETY: null, or the flow of this program run.
    let Some(flow) = (unsafe { flow.as_ref() }) else { return Reason::NotProtected.answer(NO_RULE) };
    let decision = decide_portless(flow, KernelMaps, PortlessRule::Every);
    decision.reason.answer(decision.rule)
}
