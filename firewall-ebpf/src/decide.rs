//! From a frame to its reason.

use firewall_common::{
    ANY_FAMILY, Endpoint, MONITOR, NO_RULE, PORT_WORDS, Reason, TOMBSTONE,
    packet::{Flow, Shape},
};

use crate::{
    frame::Frame,
    maps::PORTS,
    members::{Quorum, survey},
    tables::{Table, source_rule},
};

/// What was decided about a packet.
pub struct Decision {
    pub reason: Reason,
    /// The rule slot that decided, or [`NO_RULE`].
    pub rule: u32,
}

impl Decision {
    #[inline(always)]
    pub fn without_rule(reason: Reason) -> Self {
        Self { reason, rule: NO_RULE }
    }
}

#[inline(always)]
pub fn decide(frame: &Frame) -> Decision {
    let mut flow = Flow::default();
    let quorum = match frame.parse(&mut flow) {
        Shape::NotIp => return Decision::without_rule(Reason::NotIp),
        Shape::VlanDepth => return Decision::without_rule(Reason::VlanDepth),
        Shape::Malformed => return Decision::without_rule(Reason::Malformed),
        Shape::OtherProtocol => return Decision::without_rule(Reason::NotProtected),
        Shape::Port => return by_port(&flow),
        Shape::Truncated => return unless_unprotected(&flow, Reason::Malformed),
        Shape::NoPort => return unless_unprotected(&flow, Reason::NoPort),
        Shape::LaterFragment => Quorum::Any,
        Shape::Unreadable => Quorum::Every,
    };
    survey(&flow, quorum)
}

/// The packet's port is known: the endpoint's database decides, then the guard.
#[inline(always)]
fn by_port(flow: &Flow) -> Decision {
    let port = u16::from_be(flow.port);
    let bit = 1u64 << (port % 64);
    let Some(word) = PORTS.get(u32::from(port) / 64 % PORT_WORDS) else {
        return Decision::without_rule(Reason::NotProtected);
    };
    if (word.claimed | word.guarded) & bit == 0 {
        return Decision::without_rule(Reason::NotProtected);
    }
    if word.claimed & bit != 0
        && let Some(table) = Table::live()
    {
        if let Some(endpoint) = table.endpoint(flow, flow.family) {
            return by_source(flow, endpoint);
        }
        if let Some(endpoint) = table.endpoint(flow, ANY_FAMILY) {
            return by_source(flow, endpoint);
        }
    }
    Decision::without_rule(if word.guarded & bit != 0 { Reason::Closed } else { Reason::NotProtected })
}

#[inline(always)]
fn by_source(flow: &Flow, endpoint: &Endpoint) -> Decision {
    if endpoint.mode == TOMBSTONE {
        return Decision::without_rule(Reason::Closed);
    }
    match source_rule(flow, endpoint.slot) {
        Some(rule) => Decision { reason: Reason::Allowed, rule },
        None if endpoint.mode == MONITOR => {
            Decision { reason: Reason::WouldDeny, rule: endpoint.default_line }
        }
        None => Decision { reason: Reason::NoMatch, rule: endpoint.default_line },
    }
}

/// The packet cannot be judged by its port and will not be accepted by any socket either: it is refused wherever
/// something is looked after.
#[inline(always)]
fn unless_unprotected(flow: &Flow, reason: Reason) -> Decision {
    let looked_after = Table::live().is_some_and(|table| table.members(flow).is_some());
    Decision::without_rule(if looked_after { reason } else { Reason::NotProtected })
}
