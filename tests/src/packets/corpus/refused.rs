//! Shapes that the kernel refuses by itself: nothing arrives, with or without a filter.

use super::Promise::MayDrop;
use super::gather::Gatherer;
use crate::packets::flag::{ACK, FIN, PSH, RST, SYN, URG};
use crate::packets::{Datagram, Extension, ethertype, protocol};

pub(super) fn add_link(gatherer: &mut Gatherer<'_>) {
    gatherer.link(MayDrop, "VLAN 5 without such an interface", |frame| frame.vlan(5));
    gatherer.link(MayDrop, "tag of type 0x9100", |frame| frame.tag(0x9100, 0));
    gatherer.link(MayDrop, "type of the other family", |frame| frame.ethertype(ethertype::ARP));
    gatherer.link(MayDrop, "to a foreign address", |frame| frame.to([2, 0, 0, 0, 0, 0x77]));
    gatherer.link_with(MayDrop, "to the broadcast address", protocol::TCP, |frame| frame.to([0xff; 6]));
}

pub(super) fn add_ipv4(gatherer: &mut Gatherer<'_>) {
    gatherer.ipv4(MayDrop, "version 5", |ip| ip.version(5));
    gatherer.ipv4(MayDrop, "header of 4 words", |ip| ip.header_words(4));
    gatherer.ipv4(MayDrop, "header longer than it is", |ip| ip.header_words(7));
    gatherer.ipv4(MayDrop, "total length beyond the frame", |ip| ip.total_length(1_000));
    gatherer.ipv4(MayDrop, "total length 0", |ip| ip.total_length(0));
    gatherer.ipv4(MayDrop, "total length of the header alone", |ip| ip.total_length(20));
    gatherer.ipv4(MayDrop, "wrong header checksum", |ip| ip.checksum(0xbad));
    gatherer.ipv4(MayDrop, "option longer than the header", |ip| ip.options([7, 39, 4, 0]));
    gatherer.ipv4(MayDrop, "AH without an association", |ip| ip.extension(Extension::authentication(0)));
    gatherer.ipv4(MayDrop, "UDP-Lite", |ip| ip.protocol(protocol::UDP_LITE));
    gatherer.ipv4(MayDrop, "first fragment alone", |ip| ip.fragment(0, true));
    gatherer.ipv4(MayDrop, "later fragment alone", |ip| ip.fragment(8, false));
    gatherer.ipv4_frames(MayDrop, "overlapping fragments", |ip| ip, overlapping);
}

pub(super) fn add_ipv6(gatherer: &mut Gatherer<'_>) {
    gatherer.ipv6(MayDrop, "version 5", |ip| ip.version(5));
    gatherer.ipv6(MayDrop, "payload length beyond the frame", |ip| ip.payload_length(1_000));
    gatherer.ipv6(MayDrop, "payload length 0", |ip| ip.payload_length(0));
    gatherer.ipv6(MayDrop, "destination options with payload length 0", |ip| {
        ip.destination_options(&[]).payload_length(0)
    });
    gatherer.ipv6(MayDrop, "hop-by-hop and atomic fragment with payload length 0", |ip| {
        ip.hop_by_hop(&[]).fragment(0, false).payload_length(0)
    });
    gatherer.ipv6(MayDrop, "hop-by-hop after destination options", |ip| {
        ip.destination_options(&[]).hop_by_hop(&[])
    });
    gatherer.ipv6(MayDrop, "hop-by-hop twice", |ip| ip.hop_by_hop(&[]).hop_by_hop(&[]));
    gatherer.ipv6(MayDrop, "routing header with a segment left", |ip| ip.routing(0, 1));
    gatherer.ipv6(MayDrop, "segment routing header, used up", |ip| ip.routing(4, 0));
    gatherer
        .ipv6(MayDrop, "destination option that asks to be refused", |ip| ip.destination_options(&[0x5e, 0]));
    gatherer.ipv6(MayDrop, "header longer than the packet", |ip| ip.extension(too_long()));
    gatherer.ipv6(MayDrop, "AH without an association", |ip| ip.extension(Extension::authentication(0)));
    gatherer.ipv6(MayDrop, "atomic fragment twice", |ip| ip.fragment(0, false).fragment(0, false));
    gatherer.ipv6(MayDrop, "first fragment alone", |ip| ip.fragment(0, true));
    gatherer.ipv6(MayDrop, "later fragment alone", |ip| ip.fragment(8, false));
    gatherer.ipv6_frames(MayDrop, "overlapping fragments", |ip| ip, overlapping);
    gatherer.ipv6_cut(MayDrop, "first fragment of options alone", &[8], |ip| ip.destination_options(&[]));
}

pub(super) fn add_transport(gatherer: &mut Gatherer<'_>) {
    let silent = [
        ("no flags", 0),
        ("FIN", FIN),
        ("FIN, push and urgent", FIN | PSH | URG),
        ("SYN with FIN", SYN | FIN),
        ("SYN with RST", SYN | RST),
        ("RST", RST),
        ("RST with ACK", RST | ACK),
    ];
    for (name, flags) in silent {
        gatherer.tcp(MayDrop, name, |tcp| tcp.flags(flags));
    }
    gatherer.tcp(MayDrop, "wrong checksum", |tcp| tcp.checksum(0xbad));
    gatherer.tcp(MayDrop, "TCP header of 4 words", |tcp| tcp.data_offset(4));
    gatherer.tcp(MayDrop, "TCP header longer than the packet", |tcp| tcp.data_offset(15));
    gatherer.udp(MayDrop, "wrong checksum", |udp| udp.checksum(0xbad));
    gatherer.udp(MayDrop, "length beyond the packet", |udp| udp.length(1_000));
    gatherer.udp6(MayDrop, "no checksum", |udp| udp.checksum(0));
}

fn too_long() -> Extension {
    Extension::options(protocol::DESTINATION_OPTIONS, &[]).stating(200)
}

/// Returns two fragments; the second starts before the first ends.
fn overlapping(datagram: Datagram) -> Vec<Vec<u8>> {
    let (first, second) = (datagram.fragments(&[24]), datagram.fragments(&[8]));
    vec![first[0].clone(), second[1].clone()]
}
