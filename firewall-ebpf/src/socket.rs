//! The verdict about a packet that enters a TCP or UDP socket.

#[cfg(test)]
mod tests;

use firewall_common::{
    ACCEPTED, CachedEndpoint, CachedVerdict, OUTGOING, PORT_WORDS, PRESUMED_OUTGOING, PortWord, Reason,
    SocketMark, TOMBSTONE, UNMARKED,
    packet::{Flow, Shape},
};

use crate::{
    cache::Caches,
    decide::{Decision, by_endpoint, row},
    lookup::{Entries, Maps},
    portless::{PortlessRule, decide_by_every_database},
};

/// State of the socket that the packet enters.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum SocketState {
    /// A TCP listener: first packets, and the last packet of a handshake.
    Listener,
    /// A TCP connection that the host is opening.
    Opening,
    /// Any other TCP connection.
    Session,
    /// A UDP socket for any sender.
    Unconnected,
    /// A UDP socket with one peer: the kernel admits only its packets.
    Connected,
}

/// The socket that the packet enters. `'s` is the time for which its mark stays in memory.
pub trait Socket<'s> {
    fn state(&self) -> SocketState;
    /// The socket's own port in network byte order. Differs from the packet's behind TPROXY, and where a program chose
    /// the socket.
    fn port(&self) -> u16;
    /// The mark in the storage of a TCP socket; `None` when the kernel has no memory for it.
    fn mark(&self) -> Option<&'s mut SocketMark>;
    /// The mark, if the socket has one already.
    fn stored_mark(&self) -> Option<&'s SocketMark>;
    /// Returns whether [`Self::is_local`] may exempt the packet.
    fn may_be_local(&self) -> bool;
    /// Returns whether the packet is exempt: it came over the loopback interface, and from this host itself.
    fn is_local(&self, flow: &Flow) -> bool;
    /// Returns whether a TCP listener would get a new connection to the packet's destination.
    fn has_listener(&self, flow: &Flow) -> bool;
}

/// The verdict about a judged packet with a port, however it is called.
pub trait Verdicts {
    /// [`by_port`].
    fn by_port(&self, flow: &Flow, mark: Option<&mut SocketMark>) -> Decision;
    /// [`by_own_port`].
    fn by_own_port(&self, flow: &Flow, mark: Option<&mut SocketMark>) -> Decision;
}

/// Returns whether the packet belongs to a session that the tables in force admit: it needs no parse and no lookup.
#[inline(always)]
pub fn is_admitted<'a, 's>(socket: &impl Socket<'s>, maps: impl Maps<'a>) -> bool {
    if socket.state() != SocketState::Session || socket.may_be_local() {
        return false;
    }
    let generation = maps.generation();
    generation & 1 == 0 && socket.stored_mark().is_some_and(|mark| mark.admitted == generation)
}

/// Decides about a packet that enters a socket. [`Reason::NotProtected`] also means: left alone. Leaves `flow` as it is.
#[inline(always)]
pub fn decide_at_socket<'a, 's>(
    shape: Shape,
    flow: &mut Flow,
    socket: &impl Socket<'s>,
    maps: impl Maps<'a>,
    verdicts: &impl Verdicts,
) -> Decision {
    let port = socket.port();
    if shape == Shape::Port && !is_protected(flow.port, maps) && !is_protected(port, maps) {
        return LEFT_ALONE;
    }
    if socket.is_local(flow) {
        return LEFT_ALONE;
    }
    let mut mark = None;
    match socket.state() {
        SocketState::Listener => {
            // Every session that it accepts from now on inherits the mark.
            if let Some(mark) = socket.mark() {
                mark.role = ACCEPTED;
                // It may have been a session before.
                mark.admitted = 0;
            }
        }
        SocketState::Opening => {
            if let Some(mark) = socket.mark() {
                mark.role = OUTGOING;
                mark.admitted = 0;
            }
            return LEFT_ALONE;
        }
        SocketState::Session => {
            mark = socket.mark();
            let role = mark.as_ref().map_or(UNMARKED, |mark| mark.role);
            let accepted = match role {
                ACCEPTED => true,
                OUTGOING => false,
                // A packet without a readable port tells nothing about its session.
                _ if shape != Shape::Port => true,
                // Older than the filter. At an endpoint it is judged in any case: nothing denied gets in. At a port that
                // is only closed it is judged if it can have been accepted: nothing of the host's own is cut.
                PRESUMED_OUTGOING => is_endpoint(flow, maps),
                _ => is_endpoint(flow, maps) || socket.has_listener(flow),
            };
            if role == UNMARKED
                && shape == Shape::Port
                && let Some(mark) = &mut mark
            {
                mark.role = if accepted { ACCEPTED } else { PRESUMED_OUTGOING };
            }
            if !accepted {
                return LEFT_ALONE;
            }
        }
        SocketState::Unconnected => {}
        SocketState::Connected => {
            let is_endpoint = with_port(flow, port, |flow| is_endpoint(flow, maps));
            if !is_endpoint {
                return LEFT_ALONE;
            }
        }
    }
    if shape != Shape::Port {
        return maps.portless(flow, PortlessRule::Every);
    }
    if port == flow.port {
        return verdicts.by_own_port(flow, mark);
    }
    let mut decision = verdicts.by_port(flow, mark.as_deref_mut());
    if decision.passes() {
        let own = with_port(flow, port, |flow| verdicts.by_port(flow, mark));
        let is_stricter = !decision.is(Reason::WouldDeny) || !own.passes();
        if !own.is(Reason::NotProtected) && is_stricter {
            decision = own;
        }
    }
    decision
}

/// The verdict without a socket: that of a new connection to a listener at the packet's port.
#[inline(always)]
pub fn decide_at_any_socket<'a, V: Entries<CachedVerdict>, E: Entries<CachedEndpoint>>(
    shape: Shape,
    flow: &Flow,
    maps: impl Maps<'a>,
    caches: Option<&mut Caches<V, E>>,
) -> Decision {
    match shape {
        Shape::Port => by_port(flow, maps, caches, None),
        Shape::Unreadable => maps.portless(flow, PortlessRule::Every),
        // These enter no socket.
        Shape::NotIp
        | Shape::VlanDepth
        | Shape::Malformed
        | Shape::OtherProtocol
        | Shape::Truncated
        | Shape::NoPort
        | Shape::LaterFragment => LEFT_ALONE,
    }
}

/// Calls `judge` with another port in the flow.
#[inline(always)]
fn with_port<T>(flow: &mut Flow, port: u16, judge: impl FnOnce(&Flow) -> T) -> T {
    let own = core::mem::replace(&mut flow.port, port);
    let judged = judge(flow);
    flow.port = own;
    judged
}

const LEFT_ALONE: Decision = Decision::new(Reason::NotProtected, firewall_common::NO_RULE);

/// The verdict of the endpoint at the packet's destination; at a guarded port without one, that of every database of the
/// host together.
#[inline(always)]
pub fn by_port<'a, V: Entries<CachedVerdict>, E: Entries<CachedEndpoint>>(
    flow: &Flow,
    maps: impl Maps<'a>,
    caches: Option<&mut Caches<V, E>>,
    mark: Option<&mut SocketMark>,
) -> Decision {
    let Some((word, bit)) = word(flow.port, maps) else { return LEFT_ALONE };
    if word.claimed & bit != 0
        && let Some(decision) = by_endpoint(flow, maps, caches)
    {
        return decision;
    }
    if word.guarded & bit != 0 { by_every_database(flow, maps, mark) } else { LEFT_ALONE }
}

/// [`by_port`] for a packet with its socket's own port; admits an allowed session. With another port the verdict may depend
/// on the bits of both, which are written in place, without a new generation.
#[inline(always)]
pub fn by_own_port<'a, V: Entries<CachedVerdict>, E: Entries<CachedEndpoint>>(
    flow: &Flow,
    maps: impl Maps<'a>,
    caches: Option<&mut Caches<V, E>>,
    mut mark: Option<&mut SocketMark>,
) -> Decision {
    // Before any lookup.
    let generation = maps.generation();
    let decision = by_port(flow, maps, caches, mark.as_deref_mut());
    if decision.is(Reason::Allowed)
        && generation & 1 == 0
        && let Some(mark) = mark
    {
        mark.admitted = generation;
    }
    decision
}

/// The verdict of the host index, stored in the mark of a session: its source never changes.
#[inline(always)]
fn by_every_database<'a>(flow: &Flow, maps: impl Maps<'a>, mark: Option<&mut SocketMark>) -> Decision {
    let generation = maps.generation();
    let Some(mark) = mark else { return decide_by_every_database(flow, maps) };
    let answer = mark.answer;
    if generation & 1 == 0
        && mark.generation == generation
        && mark.check == SocketMark::check_of(generation, answer)
    {
        return Decision::from_answer(answer);
    }
    let decision = decide_by_every_database(flow, maps);
    if generation & 1 == 0 {
        let answer = decision.answer();
        mark.generation = generation;
        mark.answer = answer;
        mark.check = SocketMark::check_of(generation, answer);
    }
    decision
}

/// The word of a port in network byte order, and the port's bit.
#[inline(always)]
fn word<'a>(port: u16, maps: impl Maps<'a>) -> Option<(&'a PortWord, u64)> {
    let port = u16::from_be(port);
    Some((maps.ports(u32::from(port) / 64 % PORT_WORDS)?, 1 << (port % 64)))
}

#[inline(always)]
fn is_protected<'a>(port: u16, maps: impl Maps<'a>) -> bool {
    word(port, maps).is_some_and(|(word, bit)| (word.claimed | word.guarded) & bit != 0)
}

/// Returns whether a database has an endpoint at the flow's destination.
#[inline(always)]
fn is_endpoint<'a>(flow: &Flow, maps: impl Maps<'a>) -> bool {
    word(flow.port, maps).is_some_and(|(word, bit)| word.claimed & bit != 0)
        && row(flow, maps).is_some_and(|endpoint| endpoint.mode != TOMBSTONE)
}
