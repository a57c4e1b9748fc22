//! Packets to the shared address, for a port, in forms that disguise or hide it.

use firewall_tests::packets::{Extension, Segment, frame, protocol};

use crate::frames::{
    Host, ORDERS, chain, ip4, ip6, past_the_end, portless, tcp, two_fragment_headers, udp, v4,
};

/// Name and frame.
pub type Disguise = (String, Vec<u8>);

/// Returns frames for the port.
pub fn disguises(source: Host, port: u16) -> Vec<Disguise> {
    let mut frames = unreadable(source, port);
    let mut add = |name: &str, frame: Vec<u8>| frames.push((format!("{name} to port {port}"), frame));
    let (four, six) = (|| ip4(source, ORDERS), || ip6(source, ORDERS));
    tcp(source, ORDERS, port).into_iter().for_each(|frame| add("plain", frame));
    udp(source, ORDERS, port).into_iter().for_each(|frame| add("UDP", frame));
    for words in 1..=10 {
        let frame = four().options(vec![1; words * 4]).tcp(1, port).build();
        add(&format!("{words} words of options"), frame);
    }
    for tags in 1..=5 {
        let tagged = (0..tags).fold(frame(), |frame, _| frame.vlan(0));
        add(&format!("{tags} tags"), tagged.ipv4(v4(source.0), v4(ORDERS.0)).tcp(1, port).build());
    }
    for headers in 1..=8 {
        for frame in chain(headers, source, ORDERS, port) {
            add(&format!("{headers} headers"), frame);
        }
    }
    add("routing header", six().routing(0, 0).tcp(1, port).build());
    add("hop-by-hop", six().hop_by_hop(&[]).tcp(1, port).build());
    add("payload length 0", six().hop_by_hop(&[]).payload_length(0).tcp(1, port).build());
    add("atomic fragment", six().fragment(0, false).tcp(1, port).build());
    add("first fragment", four().tcp(1, port).fragments(&[8]).swap_remove(0));
    add("first fragment, IPv6", six().tcp(1, port).fragments(&[8]).swap_remove(0));
    portless(source).into_iter().for_each(|frame| add("first fragment without ports", frame));
    for length in 0..20 {
        let mut cut = four().tcp(1, port).build();
        cut.truncate(34 + length);
        add(&format!("{length} bytes of TCP"), cut);
    }
    frames
}

/// Returns frames without a readable port.
pub fn unreadable(source: Host, port: u16) -> Vec<Disguise> {
    let chains = (9..=60).flat_map(|headers| {
        let named = move |frame| (format!("{headers} headers to port {port}"), frame);
        chain(headers, source, ORDERS, port).into_iter().map(named)
    });
    let ends = past_the_end(source, ORDERS, port).into_iter();
    let ends = ends.map(|frame| (format!("header past the end to port {port}"), frame));
    let twice = two_fragment_headers(source, ORDERS, port);
    chains.chain(ends).chain([(format!("two fragment headers to port {port}"), twice)]).collect()
}

/// Returns later fragments: no socket interprets the port that their bytes resemble.
pub fn later_fragments(source: Host, port: u16) -> Vec<Disguise> {
    let mut frames = Vec::new();
    let (four, six) = (|| ip4(source, ORDERS), || ip6(source, ORDERS));
    for offset in [8, 16, 1480, 65_528] {
        for more in [false, true] {
            let mut add = |name: &str, frame: Vec<u8>| {
                frames.push((format!("{name} at {offset}, {more}, spelling port {port}"), frame));
            };
            add("TCP", four().fragment(offset, more).tcp(1, port).build());
            add("UDP", four().fragment(offset, more).udp(1, port, b"x").build());
            add("options", four().options([1; 40]).fragment(offset, more).tcp(1, port).build());
            let behind = Extension::authentication(0);
            add("authentication", four().fragment(offset, more).extension(behind).tcp(1, port).build());
            add("no bytes", four().fragment(offset, more).carrying(Segment::raw(protocol::TCP, &[])).build());
            add("TCP over IPv6", six().fragment(offset, more).tcp(1, port).build());
            add("UDP over IPv6", six().fragment(offset, more).udp(1, port, b"x").build());
            let chained = six().hop_by_hop(&[]).destination_options(&[]).fragment(offset, more);
            add("behind options", chained.tcp(1, port).build());
            add("before options", six().fragment(offset, more).destination_options(&[]).tcp(1, port).build());
            add("twice", six().fragment(offset, more).fragment(0, false).tcp(1, port).build());
        }
    }
    frames
}
