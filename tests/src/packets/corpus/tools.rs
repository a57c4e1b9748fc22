//! Shapes that widespread tools send: nmap, hping3, thc-ipv6, SI6 Networks' IPv6 toolkit, and the captures of tcpdump.

use super::Promise::{MayDrop, MustPass};
use super::gather::Gatherer;
use crate::packets::{Datagram, Ethernet, Extension, Segment, frame, protocol};

/// LLC and SNAP headers before the type of the content.
const SNAP: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];
/// Length of an Ethernet header without tags, in bytes.
const ETHERNET: usize = 14;
/// Option of a jumbogram of 100 bytes, which is too short to be one.
const SHORT_JUMBOGRAM: [u8; 6] = [0xc2, 4, 0, 0, 0, 100];
const IP_IN_IP: u8 = 4;

pub(super) fn add(gatherer: &mut Gatherer<'_>) {
    for (name, cuts, order) in [
        ("first fragment of 8 bytes", &[8][..], &[0, 1][..]),
        ("first fragment of 8 bytes, sent last", &[8], &[1, 0]),
        ("fragments of 8 bytes each", &[8, 16, 24, 32], &[0, 1, 2, 3, 4]),
    ] {
        gatherer.ipv6_frames_with(
            MustPass,
            name,
            protocol::UDP,
            |ip| ip,
            |datagram| datagram.fragments_sent(cuts, order),
        );
    }
    gatherer.ipv6_cut(
        MustPass,
        "fragments of destination options, after hop-by-hop and destination options",
        &[64],
        |ip| {
            let ip = ip.hop_by_hop(&padding(14)).destination_options(&padding(22)).fragmentable();
            ip.destination_options(&padding(38))
        },
    );
}

pub(super) fn add_disputed(gatherer: &mut Gatherer<'_>) {
    gatherer.ipv6(MayDrop, "130 destination options", |ip| {
        (0..130).fold(ip, |ip, _| ip.destination_options(&[]))
    });
}

pub(super) fn add_refused(gatherer: &mut Gatherer<'_>) {
    for (name, cuts) in [("first fragment of 8 bytes", 8), ("first fragment of 16 bytes", 16)] {
        gatherer.ipv6_frames_with(
            MayDrop,
            name,
            protocol::TCP,
            |ip| ip,
            |datagram| datagram.fragments(&[cuts]),
        );
    }
    gatherer.ipv6(MayDrop, "hop-by-hop with a short jumbogram", |ip| ip.hop_by_hop(&SHORT_JUMBOGRAM));
    gatherer.ipv6(MayDrop, "hop-by-hop with a short jumbogram, payload length 0", |ip| {
        ip.hop_by_hop(&SHORT_JUMBOGRAM).payload_length(0)
    });
    gatherer.ipv6(MayDrop, "two destination options and two atomic fragments", |ip| {
        ip.destination_options(&[]).destination_options(&[]).fragment(0, false).fragment(0, false)
    });
    gatherer.ipv4(MayDrop, "AH longer than the packet", |ip| {
        ip.extension(Extension::authentication(0).stating(0x58))
    });
    gatherer.ipv4_frames(MayDrop, "in 802.2 with SNAP", |ip| ip, |datagram| vec![in_snap(&datagram)]);
    gatherer.ipv6_frames(MayDrop, "in 802.2 with SNAP", |ip| ip, |datagram| vec![in_snap(&datagram)]);
    gatherer.ipv4_frames(MayDrop, "in a tunnel over IPv4", |ip| ip, |datagram| vec![in_tunnel(&datagram)]);
}

/// Returns one option that pads a header, of this length in bytes.
fn padding(length: u8) -> Vec<u8> {
    let mut option = vec![0x1e, length - 2];
    option.resize(usize::from(length), 0);
    option
}

/// Returns the frame of a datagram with a length, an LLC and a SNAP header instead of a type.
fn in_snap(datagram: &Datagram) -> Vec<u8> {
    let plain = datagram.build();
    let (ethernet, packet) = plain.split_at(ETHERNET);
    let content = [&SNAP[..], &ethernet[ETHERNET - 2..], packet].concat();
    ethernet_of(&plain).carrying(content.len() as u16, &content)
}

/// Returns the frame of a datagram inside another of the same addresses.
fn in_tunnel(datagram: &Datagram) -> Vec<u8> {
    let inner = datagram.build();
    let address = |at: usize| -> [u8; 4] { std::array::from_fn(|byte| inner[at + byte]) };
    let outer = ethernet_of(&inner).ipv4(address(ETHERNET + 12).into(), address(ETHERNET + 16).into());
    outer.carrying(Segment::raw(IP_IN_IP, &inner[ETHERNET..])).build()
}

fn ethernet_of(bytes: &[u8]) -> Ethernet {
    let address = |at: usize| -> [u8; 6] { std::array::from_fn(|byte| bytes[at + byte]) };
    frame().to(address(0)).from(address(6))
}
