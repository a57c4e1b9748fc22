//! Ethernet and VLAN tags.

use super::{Flow, PacketBytes, Shape, ipv4, ipv6};

/// VLAN tags skipped by the parser, in any mix of 802.1Q and 802.1ad; the kernel strips any number.
pub const MAX_VLAN_TAGS: usize = 4;

pub(super) const HEADER: usize = 14;
pub(super) const TAG: usize = 4;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_8021Q: u16 = 0x8100;
const TYPE_8021AD: u16 = 0x88a8;

#[inline(always)]
pub(super) fn parse<P: PacketBytes + ?Sized>(packet: &P, flow: &mut Flow) -> Shape {
    let Some(ethertype) = packet.read_fixed::<2>(HEADER - 2) else { return Shape::Malformed };
    let mut ethertype = u16::from_be_bytes(ethertype);
    let mut at = HEADER;
    for _ in 0..MAX_VLAN_TAGS {
        if !is_tag(ethertype) {
            break;
        }
        let Some(inner) = packet.read_fixed::<2>(at + TAG - 2) else { return Shape::Malformed };
        ethertype = u16::from_be_bytes(inner);
        at += TAG;
    }
    match ethertype {
        TYPE_IPV4 => ipv4::parse(packet, at, flow),
        TYPE_IPV6 => ipv6::parse(packet, at, flow),
        _ if is_tag(ethertype) => Shape::VlanDepth,
        _ => Shape::NotIp,
    }
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    ethertype == TYPE_8021Q || ethertype == TYPE_8021AD
}
