//! The verdict about a frame.

use firewall_common::{
    ANY_FAMILY, Endpoint, MONITOR, NO_RULE, PORT_WORDS, Reason, TOMBSTONE,
    packet::{Flow, Shape},
};

use crate::{
    cache,
    frame::Frame,
    maps::PORTS,
    portless::{PortlessRule, decide_portless},
    tables::{Table, is_near, source_rule},
};

/// Verdict about a packet.
pub struct Decision {
    pub reason: Reason,
    /// The rule counter that decided, or [`NO_RULE`].
    pub rule: u32,
}

impl Decision {
    #[inline(always)]
    pub fn without_rule(reason: Reason) -> Self {
        Self { reason, rule: NO_RULE }
    }
}

/// Decides about one frame. With `REMEMBERS`, reads and fills the caches.
#[inline(always)]
pub fn decide<const REMEMBERS: bool>(frame: &mut Frame) -> Decision {
    let mut flow = Flow::default();
    let quorum = match frame.parse(&mut flow) {
        Shape::NotIp => return Decision::without_rule(Reason::NotIp),
        Shape::VlanDepth => return Decision::without_rule(Reason::VlanDepth),
        Shape::Malformed => return Decision::without_rule(Reason::Malformed),
        Shape::OtherProtocol => return Decision::without_rule(Reason::NotProtected),
        Shape::Port => return by_port::<REMEMBERS>(&flow),
        Shape::Truncated => return unless_unprotected(&flow, Reason::Malformed),
        Shape::NoPort => return unless_unprotected(&flow, Reason::NoPort),
        Shape::LaterFragment => PortlessRule::Any,
        Shape::Unreadable => PortlessRule::Every,
    };
    decide_portless(&flow, quorum)
}

/// Judges a packet with a known port: the endpoint's database decides, then the guard.
#[inline(always)]
fn by_port<const REMEMBERS: bool>(flow: &Flow) -> Decision {
    let port = u16::from_be(flow.port);
    let bit = 1u64 << (port % 64);
    let Some(word) = PORTS.get(u32::from(port) / 64 % PORT_WORDS) else {
        return Decision::without_rule(Reason::NotProtected);
    };
    if (word.claimed | word.guarded) & bit == 0 {
        return Decision::without_rule(Reason::NotProtected);
    }
    if word.claimed & bit != 0 {
        let row = if REMEMBERS { by_memory(flow) } else { by_table(flow) };
        if let Some(decision) = row {
            return decision;
        }
    }
    Decision::without_rule(if word.guarded & bit != 0 { Reason::Closed } else { Reason::NotProtected })
}

/// The verdict of the endpoint table; `None` when it has no row for the flow.
#[inline(always)]
fn by_table(flow: &Flow) -> Option<Decision> {
    Some(by_source(flow, row(flow)?).0)
}

/// The same, through the caches. They contain verdicts of rows only: those depend solely on tables published by a
/// pointer, while the ports are written in place.
#[inline(always)]
fn by_memory(flow: &Flow) -> Option<Decision> {
    let generation = cache::generation();
    let place = cache::verdict(flow, generation);
    if let Some(place) = place
        && let Some(decision) = cache::recall(place, flow, generation)
    {
        return Some(decision);
    }
    let near = cache::endpoint(flow, generation);
    let endpoint = match near {
        Some(near) => match cache::recall_endpoint(near, flow, generation) {
            Some(endpoint) => endpoint,
            None => {
                let endpoint = row(flow)?;
                cache::keep_endpoint(near, flow, generation, endpoint);
                endpoint
            }
        },
        None => row(flow)?,
    };
    let (decision, walked) = by_source(flow, endpoint);
    // A refusal without a trie lookup takes a stale entry only: a flood of ever new sources evicts no valid one.
    if let Some(place) = place
        && (walked || cache::is_free(place, generation))
    {
        cache::keep(place, flow, generation, &decision);
    }
    Some(decision)
}

/// The row of the flow's destination: that of its address, else the wildcard's.
#[inline(always)]
fn row(flow: &Flow) -> Option<&'static Endpoint> {
    let table = Table::live()?;
    match table.endpoint(flow, flow.family) {
        Some(endpoint) => Some(endpoint),
        None => table.endpoint(flow, ANY_FAMILY),
    }
}

/// The verdict, and whether it needed a trie lookup.
#[inline(always)]
fn by_source(flow: &Flow, endpoint: &Endpoint) -> (Decision, bool) {
    if endpoint.mode == TOMBSTONE {
        return (Decision::without_rule(Reason::Closed), false);
    }
    let walked = is_near(flow, endpoint.slot);
    let rule = if walked { source_rule(flow, endpoint.slot) } else { None };
    let decision = match rule {
        Some(rule) => Decision { reason: Reason::Allowed, rule },
        None if endpoint.mode == MONITOR => {
            Decision { reason: Reason::WouldDeny, rule: endpoint.default_counter }
        }
        None => Decision { reason: Reason::NoMatch, rule: endpoint.default_counter },
    };
    (decision, walked)
}

/// Refuses a packet if its address has an endpoint, tombstone or guarded port: it cannot be judged by its port, and no
/// socket would accept it.
#[inline(always)]
fn unless_unprotected(flow: &Flow, reason: Reason) -> Decision {
    let looked_after = Table::live().is_some_and(|table| table.members(flow).is_some());
    Decision::without_rule(if looked_after { reason } else { Reason::NotProtected })
}
