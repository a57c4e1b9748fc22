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
pub enum Quorum {
    /// A later fragment: the first fragment was judged by its port, and without it there is no reassembly.
    Any,
    /// An unreadable chain: the packet may be for any of them.
    Every,
}

/// Input and result of the walk over the member rows.
#[repr(C)]
struct Survey {
    table: Table,
    flow: Flow,
    key: EndpointKey,
    /// A [`Quorum`] as a plain number: with an enum, the compiler turns a comparison into arithmetic with bounds that
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
pub fn survey(flow: &Flow, quorum: Quorum) -> Decision {
    let Some(table) = Table::live() else { return Decision::without_rule(Reason::NotProtected) };
    let Some(key) = table.members(flow) else { return Decision::without_rule(Reason::NotProtected) };
    let mut survey = Survey {
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
    // SAFETY: `ask` has the signature that the kernel calls, and `survey` outlives the call.
    unsafe { bpf_loop(MAX_MEMBERS + 1, ask as *mut c_void, (&raw mut survey).cast(), 0) };
    survey.decision(quorum)
}

/// Evaluates one member row.
extern "C" fn ask(row: u32, survey: *mut Survey) -> i64 {
    // SAFETY: the kernel passes the pointer that `survey` gave it.
    let survey = unsafe { &mut *survey };
    survey.key.port = row as u16;
    let Some(member) = survey.table.row(&survey.key) else { return STOP };
    if member.mode == TOMBSTONE {
        survey.closed = 1;
        return GO_ON;
    }
    survey.asked = 1;
    match source_rule(&survey.flow, member.slot) {
        Some(rule) => {
            survey.allowing = rule;
            if survey.quorum == Quorum::Any as u32 { STOP } else { GO_ON }
        }
        None if member.mode == MONITOR => {
            survey.monitoring = member.default_line;
            GO_ON
        }
        None => {
            survey.refusing = member.default_line;
            if survey.quorum == Quorum::Every as u32 { STOP } else { GO_ON }
        }
    }
}

impl Survey {
    #[inline(always)]
    fn decision(&self, quorum: Quorum) -> Decision {
        match quorum {
            Quorum::Any if self.asked == 0 => Decision::without_rule(Reason::NotProtected),
            Quorum::Any if self.allowing != NO_RULE => {
                Decision { reason: Reason::Allowed, rule: self.allowing }
            }
            Quorum::Any if self.monitoring != NO_RULE => {
                Decision { reason: Reason::WouldDeny, rule: self.monitoring }
            }
            Quorum::Any => Decision { reason: Reason::Fragment, rule: self.refusing },
            Quorum::Every if self.closed != 0 => Decision::without_rule(Reason::NoPort),
            Quorum::Every if self.refusing != NO_RULE => {
                Decision { reason: Reason::NoPort, rule: self.refusing }
            }
            Quorum::Every if self.asked == 0 => Decision::without_rule(Reason::NotProtected),
            Quorum::Every if self.monitoring != NO_RULE => {
                Decision { reason: Reason::WouldDeny, rule: self.monitoring }
            }
            Quorum::Every => Decision { reason: Reason::Allowed, rule: self.allowing },
        }
    }
}
