//! The IPv4 header, including options and fragment fields.

use super::{
    Flow, PacketBytes, Shape,
    walk::{self, AUTHENTICATION, Chain, TCP, UDP},
};
use crate::IPV4;

const HEADER: usize = 20;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

#[inline(always)]
pub(super) fn parse<P: PacketBytes + ?Sized>(packet: &P, at: usize, flow: &mut Flow) -> Shape {
    let Some(start) = packet.read_fixed::<4>(at) else { return Shape::Malformed };
    let Some(fragment) = packet.read_fixed::<4>(at + 6) else { return Shape::Malformed };
    let Some(addresses) = packet.words::<2>(at + 12) else { return Shape::Malformed };
    let header = usize::from(start[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([start[2], start[3]]));
    if start[0] >> 4 != 4 || header < HEADER || total < header || at + header > packet.frame_len() {
        return Shape::Malformed;
    }
    flow.family = IPV4;
    flow.source[0] = addresses[0];
    flow.destination[0] = addresses[1];

    let protocol = fragment[3];
    let fragment = u16::from_be_bytes([fragment[0], fragment[1]]);
    if fragment & OFFSET != 0 {
        // The protocol is part of a datagram's identity: these bytes can never become TCP or UDP.
        return match protocol {
            TCP | UDP | AUTHENTICATION => Shape::LaterFragment,
            _ => Shape::OtherProtocol,
        };
    }
    let chain = Chain {
        at: at + header,
        // The rest is padding, which the stack cuts off: the program must see the same ports.
        end: packet.frame_len().min(at + total),
        next: protocol,
        first_fragment: fragment & MORE_FRAGMENTS != 0,
        fixed: header == HEADER,
    };
    walk::parse(packet, chain, flow)
}
