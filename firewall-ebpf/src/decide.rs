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

/// Verdict about a packet, encoded as a [`Reason::answer`]: from the verdict cache to the counters it stays one number.
#[cfg_attr(test, derive(PartialEq, Eq))]
#[derive(Clone, Copy)]
pub struct Decision(u32);

/// Bits of the reasons with which a packet passes, by their numbers.
const PASSING: u32 = {
    assert!(Reason::ALL.len() <= u32::BITS as usize);
    let (mut bits, mut at) = (0, 0);
    while at < Reason::ALL.len() {
        bits |= (Reason::ALL[at].passes() as u32) << at;
        at += 1;
    }
    bits
};

impl Decision {
    /// A verdict with the rule counter that decided, or [`NO_RULE`].
    #[inline(always)]
    pub const fn new(reason: Reason, rule: u32) -> Self {
        Self(reason.answer(rule))
    }

    #[inline(always)]
    pub const fn without_rule(reason: Reason) -> Self {
        Self::new(reason, NO_RULE)
    }

    /// The decision in a [`Reason::answer`].
    #[inline(always)]
    pub const fn from_answer(answer: u32) -> Self {
        Self(answer)
    }

    /// The decision as a [`Reason::answer`].
    #[inline(always)]
    pub const fn answer(self) -> u32 {
        self.0
    }

    /// The rule counter that decided, or [`NO_RULE`].
    #[inline(always)]
    pub const fn rule(self) -> u32 {
        self.0 & 0x00ff_ffff
    }

    /// The number of the reason; of none in a damaged answer.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0 >> 24
    }

    /// Returns whether this is the reason.
    #[inline(always)]
    pub const fn is(self, reason: Reason) -> bool {
        self.number() == reason as u32
    }

    /// Returns whether the packet passes. A damaged answer is a refusal.
    #[inline(always)]
    pub const fn passes(self) -> bool {
        self.number() < u32::BITS && PASSING >> self.number() & 1 != 0
    }
}

#[cfg(test)]
impl Decision {
    pub fn reason(self) -> Reason {
        Reason::from_answer(self.0).unwrap().0
    }
}

#[cfg(test)]
impl std::fmt::Debug for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} by rule {}", Reason::from_answer(self.0), self.rule())
    }
}

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
        && decision.rule() != NO_RULE
        && (decision.passes() || cache::staleness(entry, generation) != 0)
    {
        cache::store(entry, flow, generation, decision);
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

/// The verdict of the endpoint table, through the caches, if any; `None` when it has no row for the flow. The caches contain
/// verdicts of rows only: those depend solely on tables published by a pointer, while the ports are written in place.
#[inline(always)]
pub fn by_endpoint<'a, V: Entries<CachedVerdict>, E: Entries<CachedEndpoint>>(
    flow: &Flow,
    maps: impl Maps<'a>,
    caches: Option<&mut Caches<V, E>>,
) -> Option<Decision> {
    // Before any lookup.
    let generation = maps.generation();
    let Some(Caches { verdicts, endpoints }) = caches else {
        return maps.by_row(flow, generation, None, None::<&mut E>);
    };
    let verdict = cache::verdict(verdicts, maps, flow, generation);
    if let Some(entry) = &verdict
        && let Some(decision) = cache::decision(entry, flow, generation)
    {
        return Some(decision);
    }
    maps.by_row(flow, generation, verdict, Some(endpoints))
}

/// The verdict of the endpoint table, through the endpoint cache, if any; `None` when it has no row for the flow. Stores the
/// verdict in its cache entry, if any.
#[inline(always)]
pub fn by_row<'a>(
    flow: &Flow,
    maps: impl Maps<'a>,
    generation: u64,
    verdict: Option<&mut CachedVerdict>,
    endpoints: Option<&mut impl Entries<CachedEndpoint>>,
) -> Option<Decision> {
    let entry = endpoints.and_then(|entries| cache::endpoint(entries, maps, flow, generation));
    let endpoint = match entry {
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
        cache::store(entry, flow, generation, decision);
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
        return (Decision::new(Reason::Blocked, block.rule()), Searched { blocks, sources: 0 });
    }
    let searched = maps.may_allow(flow, endpoint.slot);
    let rule = if searched { maps.source_rule(flow, endpoint.slot) } else { None };
    let decision = match rule {
        Some(rule) => Decision::new(Reason::Allowed, rule),
        None if endpoint.mode == MONITOR => Decision::new(Reason::WouldDeny, endpoint.default_counter),
        None => Decision::new(Reason::NoMatch, endpoint.default_counter),
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
