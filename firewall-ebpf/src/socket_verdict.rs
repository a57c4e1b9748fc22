//! The verdict at a socket, as a function that the verifier checks once, on its own. Inlined after every way of parsing and
//! for every state of a socket, it would be more than it follows.

use firewall_common::{NO_RULE, Reason, SocketMark, packet::Flow};

use crate::{
    decide::Decision,
    socket::{Verdicts, by_own_port, by_port},
    tables::{CACHES, KernelMaps},
};

/// Calls the functions of this file.
pub struct KernelVerdicts;

impl Verdicts for KernelVerdicts {
    #[inline(always)]
    fn by_port(&self, flow: &Flow, mark: Option<&mut SocketMark>) -> Decision {
        Decision::from_answer(judge_by_port(flow, pointer(mark), 0))
    }

    #[inline(always)]
    fn by_own_port(&self, flow: &Flow, mark: Option<&mut SocketMark>) -> Decision {
        Decision::from_answer(judge_by_port(flow, pointer(mark), 1))
    }
}

#[inline(always)]
fn pointer(mark: Option<&mut SocketMark>) -> *mut SocketMark {
    mark.map_or(core::ptr::null_mut(), core::ptr::from_mut)
}

/// Answers with [`Reason::answer`]; `is_own` is 1 where the packet's port is the socket's.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_by_port(flow: *const Flow, mark: *mut SocketMark, is_own: u32) -> u32 {
    // SAFETY: null, or the flow and the mark of this program run.
    let (flow, mark) = unsafe { (flow.as_ref(), mark.as_mut()) };
    let Some(flow) = flow else { return Reason::NotProtected.answer(NO_RULE) };
    let mut caches = CACHES;
    if is_own != 0 {
        by_own_port(flow, KernelMaps, Some(&mut caches), mark).answer()
    } else {
        by_port(flow, KernelMaps, Some(&mut caches), mark).answer()
    }
}
