//! The IPv6 fixed header.

use super::{
    Flow, PacketBytes, Shape,
    walk::{self, Chain, HOP_BY_HOP},
};
use crate::IPV6;

pub(super) const HEADER: usize = 40;

#[inline(always)]
pub(super) fn parse<P: PacketBytes + ?Sized>(packet: &P, at: usize, flow: &mut Flow) -> Shape {
    let Some(start) = packet.read_fixed::<8>(at) else { return Shape::Malformed };
    let Some(source) = packet.words::<4>(at + 8) else { return Shape::Malformed };
    let Some(destination) = packet.words::<4>(at + 24) else { return Shape::Malformed };
    if start[0] >> 4 != 6 {
        return Shape::Malformed;
    }
    flow.family = IPV6;
    flow.source = source;
    flow.destination = destination;

    let payload = usize::from(u16::from_be_bytes([start[4], start[5]]));
    let next = start[6];
    // With a hop-by-hop header next, Linux takes a payload length of 0 as "to the end of the frame" (ipv6_rcv: room for
    // a jumbogram), with or without a jumbo option.
    let end = if payload == 0 && next == HOP_BY_HOP {
        packet.frame_len()
    } else {
        packet.frame_len().min(at + HEADER + payload)
    };
    walk::parse(packet, Chain { at: at + HEADER, end, next, first_fragment: false, fixed: true }, flow)
}
