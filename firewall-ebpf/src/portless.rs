//! Portless packets: the verdict of all databases at the destination address.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use firewall_common::{EndpointKey, MAX_MEMBERS, MONITOR, NO_RULE, Reason, TOMBSTONE, packet::Flow};

use crate::{
    decide::Decision,
    tables::{Table, source_rule},
};

/// The number of databases at an address that must allow the source.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum PortlessRule {
    /// A later fragment: the first fragment was judged by its port, and without it there is no reassembly.
    Any,
    /// An unreadable chain: the packet may be for any of them.
    Every,
}

/// Input and result of the walk over the member rows.
#[repr(C)]
struct PortlessWalk {
    table: Table,
    flow: Flow,
    key: EndpointKey,
    /// A [`PortlessRule`] as a plain number: with an enum, the compiler turns a comparison into arithmetic with bounds that
    /// the verifier does not follow.
    quorum: u32,
    /// 1 once a database was evaluated.
    asked: u32,
    /// The rule counter of a database that allows the source.
    allowing: u32,
    /// The default counter of a database in monitor mode that does not allow it.
    monitoring: u32,
    /// The default counter of an enforcing database that does not allow it.
    refusing: u32,
    /// 1 when something at the address is closed.
    closed: u32,
}

const GO_ON: i64 = 0;
const STOP: i64 = 1;

#[inline(always)]
pub fn decide_portless(flow: &Flow, quorum: PortlessRule) -> Decision {
    let Some(table) = Table::live() else { return Decision::without_rule(Reason::NotProtected) };
    let Some(key) = table.members(flow) else { return Decision::without_rule(Reason::NotProtected) };
    let mut walk = PortlessWalk {
        table,
        flow: *flow,
        key,
        quorum: quorum as u32,
        asked: 0,
        allowing: NO_RULE,
        monitoring: NO_RULE,
        refusing: NO_RULE,
        closed: 0,
    };
    // A loop in the kernel (5.17): the verifier follows one iteration, not each of a few hundred. The bound is one more
    // than the members, for the tombstone.
    // SAFETY: `ask` has the signature that the kernel calls, and `walk` outlives the call.
    unsafe { bpf_loop(MAX_MEMBERS + 1, ask as *mut c_void, (&raw mut walk).cast(), 0) };
    walk.decision(quorum)
}

/// Evaluates one member row.
extern "C" fn ask(row: u32, walk: *mut PortlessWalk) -> i64 {
    // SAFETY: the kernel passes the pointer that `walk` gave it.
    let walk = unsafe { &mut *walk };
    walk.key.port = row as u16;
    let Some(member) = walk.table.row(&walk.key) else { return STOP };
    if member.mode == TOMBSTONE {
        walk.closed = 1;
        return GO_ON;
    }
    walk.asked = 1;
    match source_rule(&walk.flow, member.slot) {
        Some(rule) => {
            walk.allowing = rule;
            if walk.quorum == PortlessRule::Any as u32 { STOP } else { GO_ON }
        }
        None if member.mode == MONITOR => {
            walk.monitoring = member.default_counter;
            GO_ON
        }
        None => {
            walk.refusing = member.default_counter;
            if walk.quorum == PortlessRule::Every as u32 { STOP } else { GO_ON }
        }
    }
}

impl PortlessWalk {
    #[inline(always)]
    fn decision(&self, quorum: PortlessRule) -> Decision {
        match quorum {
            PortlessRule::Any if self.asked == 0 => Decision::without_rule(Reason::NotProtected),
            PortlessRule::Any if self.allowing != NO_RULE => {
                Decision { reason: Reason::Allowed, rule: self.allowing }
            }
            PortlessRule::Any if self.monitoring != NO_RULE => {
                Decision { reason: Reason::WouldDeny, rule: self.monitoring }
            }
            PortlessRule::Any => Decision { reason: Reason::Fragment, rule: self.refusing },
            PortlessRule::Every if self.closed != 0 => Decision::without_rule(Reason::NoPort),
            PortlessRule::Every if self.refusing != NO_RULE => {
                Decision { reason: Reason::NoPort, rule: self.refusing }
            }
            PortlessRule::Every if self.asked == 0 => Decision::without_rule(Reason::NotProtected),
            PortlessRule::Every if self.monitoring != NO_RULE => {
                Decision { reason: Reason::WouldDeny, rule: self.monitoring }
            }
            PortlessRule::Every => Decision { reason: Reason::Allowed, rule: self.allowing },
        }
    }
}
