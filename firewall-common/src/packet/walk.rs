//! The chain of headers after the IP header, up to the ports.

use super::{Flow, PacketBytes, Shape};
use crate::IPV6;

/// Headers walked after the IP header; a longer chain is [`Shape::Unreadable`].
pub const MAX_HEADERS: usize = 8;

pub(super) const HOP_BY_HOP: u8 = 0;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
pub(super) const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// Offset of the flags in a TCP header.
const FLAGS: usize = 13;
/// Source and destination port.
pub(super) const PORTS: usize = 4;
/// Length in bytes of the shortest walked header; all are a multiple of 4.
const SHORTEST: usize = 8;

/// Start of the walk.
pub(super) struct Chain {
    /// Offset of the first header after the IP header.
    pub at: usize,
    /// Offset of the first byte after the packet.
    pub end: usize,
    /// Protocol of the header at `at`.
    pub next: u8,
    /// The IP header has "more fragments" set.
    pub first_fragment: bool,
    /// `at` follows a header of fixed length.
    pub fixed: bool,
}

#[inline(always)]
pub(super) fn parse<P: PacketBytes + ?Sized>(packet: &P, chain: Chain, flow: &mut Flow) -> Shape {
    let Chain { mut at, end, mut next, mut first_fragment, fixed } = chain;
    if fixed && !is_walked(next, flow.family) {
        let read = |at| packet.read_fixed::<PORTS>(at);
        return transport(packet, next, (at, end), first_fragment, read, flow);
    }
    let mut fragment_header = false;
    for _ in 0..MAX_HEADERS {
        if !is_walked(next, flow.family) {
            break;
        }
        if at + SHORTEST > end {
            return past_the_end(first_fragment);
        }
        let Some(header) = packet.read_at::<4>(at) else { return past_the_end(first_fragment) };
        let length = usize::from(header[1]);
        let length = match next {
            FRAGMENT => 8,
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        if at + length > end {
            return past_the_end(first_fragment);
        }
        if next == FRAGMENT {
            if fragment_header {
                return Shape::Unreadable;
            }
            fragment_header = true;
            let offset_and_more = u16::from_be_bytes([header[2], header[3]]);
            if offset_and_more & 0xfff8 != 0 {
                return later_fragment(header[0], flow.family);
            }
            first_fragment = offset_and_more & 1 != 0;
        }
        next = header[0];
        at += length;
    }
    if is_walked(next, flow.family) {
        return Shape::Unreadable;
    }
    transport(packet, next, (at, end), first_fragment, |at| packet.read_at::<PORTS>(at), flow)
}

#[inline(always)]
fn transport<P: PacketBytes + ?Sized>(
    packet: &P,
    protocol: u8,
    (at, end): (usize, usize),
    first_fragment: bool,
    read: impl Fn(usize) -> Option<[u8; PORTS]>,
    flow: &mut Flow,
) -> Shape {
    let header = match protocol {
        TCP => TCP_HEADER,
        UDP => UDP_HEADER,
        _ => return Shape::OtherProtocol,
    };
    let (needed, short) = if first_fragment { (PORTS, Shape::NoPort) } else { (header, Shape::Truncated) };
    if at + needed > end {
        return short;
    }
    let Some(ports) = read(at) else { return short };
    // A first fragment may end before them; bytes after the end are padding.
    if protocol == TCP && at + FLAGS < end {
        packet.found_flags(at + FLAGS);
    }
    flow.port = u16::from_ne_bytes([ports[2], ports[3]]);
    flow.protocol = protocol;
    Shape::Port
}

/// Returns whether the walk skips this header: in IPv4 the authentication header only, in IPv6 all of them.
#[inline(always)]
fn is_walked(header: u8, family: u8) -> bool {
    match header {
        AUTHENTICATION => true,
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION => family == IPV6,
        _ => false,
    }
}

/// Shape of a later fragment, by the first header of its datagram's fragmentable part.
#[inline(always)]
fn later_fragment(next: u8, family: u8) -> Shape {
    if next == TCP || next == UDP || is_walked(next, family) {
        Shape::LaterFragment
    } else {
        Shape::OtherProtocol
    }
}

#[inline(always)]
fn past_the_end(first_fragment: bool) -> Shape {
    if first_fragment { Shape::NoPort } else { Shape::Unreadable }
}
