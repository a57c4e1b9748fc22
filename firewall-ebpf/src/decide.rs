//! The verdict about a frame.

#[cfg(test)]
mod tests;

use firewall_common::{
    ANY_FAMILY, CachedEndpoint, CachedVerdict, Endpoint, MONITOR, NO_RULE, PORT_WORDS, Reason, TOMBSTONE,
    packet::{Flow, Shape},
};

use crate::{
    cache::{self, Caches},
    lookup::{Entries, Maps, Table as _},
    portless::PortlessRule,
};

/// Verdict about a packet.
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
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

    /// The decision in a [`Reason::answer`] about a packet with a shape to be looked up. A match, since the compiler may
    /// not trust a number from memory; a damaged one is a refusal.
    #[inline(always)]
    pub fn from_answer(answer: u32) -> Self {
        let reason = match answer >> 24 {
            ALLOWED => Reason::Allowed,
            NO_MATCH => Reason::NoMatch,
            WOULD_DENY => Reason::WouldDeny,
            BLOCKED => Reason::Blocked,
            FRAGMENT => Reason::Fragment,
            NO_PORT => Reason::NoPort,
            NOT_PROTECTED => Reason::NotProtected,
            _ => Reason::Closed,
        };
        Self { reason, rule: answer & 0x00ff_ffff }
    }

    /// Encodes the decision as a [`Reason::answer`].
    #[inline(always)]
    pub fn answer(&self) -> u32 {
        self.reason.answer(self.rule)
    }
}

const ALLOWED: u32 = Reason::Allowed as u32;
const NO_MATCH: u32 = Reason::NoMatch as u32;
const WOULD_DENY: u32 = Reason::WouldDeny as u32;
const BLOCKED: u32 = Reason::Blocked as u32;
const FRAGMENT: u32 = Reason::Fragment as u32;
const NO_PORT: u32 = Reason::NoPort as u32;
const NOT_PROTECTED: u32 = Reason::NotProtected as u32;

const TCP: u8 = 6;

/// Decides about one parsed frame; reads and fills the caches, if any. `can_open` returns whether a TCP packet can open
/// a connection, and is called only where the verdict depends on it.
#[inline(always)]
pub fn decide<'a, V: Entries<CachedVerdict>, E: Entries<CachedEndpoint>>(
    shape: Shape,
    flow: &Flow,
    maps: impl Maps<'a>,
    caches: Option<&mut Caches<V, E>>,
    can_open: impl FnOnce() -> bool,
) -> Decision {
    match shape {
        Shape::NotIp => Decision::without_rule(Reason::NotIp),
        Shape::VlanDepth => Decision::without_rule(Reason::VlanDepth),
        Shape::Malformed => Decision::without_rule(Reason::Malformed),
        Shape::OtherProtocol => Decision::without_rule(Reason::NotProtected),
        Shape::Port => by_port(flow, maps, caches, can_open),
        Shape::Truncated => unless_unprotected(flow, maps, Reason::Malformed),
        Shape::NoPort => unless_unprotected(flow, maps, Reason::NoPort),
        Shape::LaterFragment => later_fragment(flow, maps, caches),
        Shape::Unreadable => maps.portless(flow, PortlessRule::Every),
    }
}

/// Judges a later fragment, through the verdict cache, if any: its port and protocol are 0, as those of no other packet in
/// the cache.
#[inline(always)]
fn later_fragment<'a, V: Entries<CachedVerdict>, E: Entries<CachedEndpoint>>(
    flow: &Flow,
    maps: impl Maps<'a>,
    caches: Option<&mut Caches<V, E>>,
) -> Decision {
    let Some(caches) = caches else { return maps.portless(flow, PortlessRule::Any) };
    let generation = maps.generation();
    let verdict = cache::verdict(&mut caches.verdicts, maps, flow, generation);
    if let Some(entry) = &verdict
        && let Some(decision) = cache::decision(entry, flow, generation)
    {
        return decision;
    }
    let decision = maps.portless(flow, PortlessRule::Any);
    // A refusal takes no valid entry: a flood of ever new sources must not evict the clients.
    if let Some(entry) = verdict
        && decision.rule != NO_RULE
        && (decision.reason.passes() || cache::staleness(entry, generation) != 0)
    {
        cache::store(entry, flow, generation, &decision);
    }
    decision
}

/// Judges a packet with a known port: the endpoint's database decides, then the guard.
#[inline(always)]
fn by_port<'a, V: Entries<CachedVerdict>, E: Entries<CachedEndpoint>>(
    flow: &Flow,
    maps: impl Maps<'a>,
    caches: Option<&mut Caches<V, E>>,
    can_open: impl FnOnce() -> bool,
) -> Decision {
    let port = u16::from_be(flow.port);
    let (number, bit) = (u32::from(port) / 64 % PORT_WORDS, 1u64 << (port % 64));
    let Some(word) = maps.ports(number) else {
        return Decision::without_rule(Reason::NotProtected);
    };
    if (word.claimed | word.guarded) & bit == 0 {
        return Decision::without_rule(Reason::NotProtected);
    }
    if word.claimed & bit != 0
        && let Some(decision) = by_endpoint(flow, maps, caches)
    {
        return decision;
    }
    let is_closed = word.guarded & bit != 0
        && (flow.protocol != TCP
            || maps.new_connections(number).is_none_or(|word| word & bit == 0)
            || can_open());
    Decision::without_rule(if is_closed { Reason::Closed } else { Reason::NotProtected })
}

/// The verdict of the endpoint table, through the caches, if any; `None` when it has no row for the flow.
#[inline(always)]
pub fn by_endpoint<'a, V: Entries<CachedVerdict>, E: Entries<CachedEndpoint>>(
    flow: &Flow,
    maps: impl Maps<'a>,
    caches: Option<&mut Caches<V, E>>,
) -> Option<Decision> {
    match caches {
        Some(caches) => by_cache(flow, maps, caches),
        None => by_table(flow, maps),
    }
}

/// The verdict of the endpoint table; `None` when it has no row for the flow.
#[inline(always)]
fn by_table<'a>(flow: &Flow, maps: impl Maps<'a>) -> Option<Decision> {
    Some(by_source(flow, maps, row(flow, maps)?).0)
}

/// The same, through the caches. They contain verdicts of rows only: those depend solely on tables published by a
/// pointer, while the ports are written in place.
#[inline(always)]
fn by_cache<'a, V: Entries<CachedVerdict>, E: Entries<CachedEndpoint>>(
    flow: &Flow,
    maps: impl Maps<'a>,
    caches: &mut Caches<V, E>,
) -> Option<Decision> {
    let generation = maps.generation();
    let verdict = cache::verdict(&mut caches.verdicts, maps, flow, generation);
    if let Some(entry) = &verdict
        && let Some(decision) = cache::decision(entry, flow, generation)
    {
        return Some(decision);
    }
    let endpoint = match cache::endpoint(&mut caches.endpoints, maps, flow, generation) {
        Some(entry) => {
            if !cache::is_endpoint_of(entry, flow, generation) {
                cache::store_endpoint(entry, flow, generation, row(flow, maps)?);
            }
            &entry.endpoint
        }
        None => row(flow, maps)?,
    };
    let (decision, searched) = by_source(flow, maps, endpoint);
    // A refusal without a lookup in the allow list takes no valid entry of an allowed flow, and without one in a block list
    // no valid entry: a flood of ever new sources must not evict the clients.
    if let Some(entry) = verdict
        && searched.sources | cache::staleness(entry, generation) | searched.blocks & cache::refusal(entry)
            != 0
    {
        cache::store(entry, flow, generation, &decision);
    }
    Some(decision)
}

/// The row of the flow's destination: that of its address, else the wildcard's.
#[inline(always)]
pub fn row<'a>(flow: &Flow, maps: impl Maps<'a>) -> Option<&'a Endpoint> {
    let table = maps.live_table()?;
    match table.endpoint(flow, flow.family) {
        Some(endpoint) => Some(endpoint),
        None => table.endpoint(flow, ANY_FAMILY),
    }
}

/// The lookups of a verdict, each 1 or 0: the verifier follows numbers once, and branches each way.
struct Searched {
    /// In a block list.
    blocks: u64,
    /// In the allow list of the database.
    sources: u64,
}

/// The verdict, and the lookup that it needed.
#[inline(always)]
fn by_source<'a>(flow: &Flow, maps: impl Maps<'a>, endpoint: &Endpoint) -> (Decision, Searched) {
    if endpoint.mode == TOMBSTONE {
        return (Decision::without_rule(Reason::Closed), Searched { blocks: 0, sources: 0 });
    }
    let block = maps.block(flow, endpoint.slot);
    let blocks = block.is_searched();
    if block.is_found() != 0 {
        return (Decision { reason: Reason::Blocked, rule: block.rule() }, Searched { blocks, sources: 0 });
    }
    let searched = maps.may_allow(flow, endpoint.slot);
    let rule = if searched { maps.source_rule(flow, endpoint.slot) } else { None };
    let decision = match rule {
        Some(rule) => Decision { reason: Reason::Allowed, rule },
        None if endpoint.mode == MONITOR => {
            Decision { reason: Reason::WouldDeny, rule: endpoint.default_counter }
        }
        None => Decision { reason: Reason::NoMatch, rule: endpoint.default_counter },
    };
    (decision, Searched { blocks, sources: u64::from(searched) })
}

/// Refuses a packet if its address has an endpoint, tombstone or guarded port: it cannot be judged by its port, and no
/// socket would accept it.
#[inline(always)]
fn unless_unprotected<'a>(flow: &Flow, maps: impl Maps<'a>, reason: Reason) -> Decision {
    let protected = maps.live_table().is_some_and(|table| table.members(flow).is_some());
    Decision::without_rule(if protected { reason } else { Reason::NotProtected })
}
