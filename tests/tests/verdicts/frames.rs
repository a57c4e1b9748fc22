//! Hosts, and frames between them in both families, IPv4 first.

use std::net::{Ipv4Addr, Ipv6Addr};

use firewall_tests::packets::{Ethernet, Extension, Ipv4, Ipv6, Segment, Tcp, flag, frame, protocol};

/// An IPv4 and an IPv6 address.
pub type Host = (&'static str, &'static str);

pub const ORDERS: Host = ("192.0.2.10", "2001:db8:2::10");
pub const LAB: Host = ("192.0.2.20", "2001:db8:2::20");
pub const LEFT: Host = ("192.0.2.30", "2001:db8:2::30");
pub const ELSEWHERE: Host = ("192.0.2.99", "2001:db8:2::99");
pub const UNSPECIFIED: Host = ("0.0.0.0", "::");
pub const OFFICE: Host = ("203.0.113.9", "2001:db8:a::9");
pub const DESK: Host = ("203.0.113.7", "2001:db8:a::7");
pub const SHOP: Host = ("198.51.100.9", "2001:db8:b::9");
pub const BOTH: Host = ("203.0.113.129", "2001:db8:a:1::9");
pub const BRANCH: Host = ("198.18.0.9", "2001:db8:c::9");
pub const STRANGER: Host = ("100.64.0.1", "2001:db8:bad::1");

/// Length byte of a header that ends far beyond any frame.
const FAR: u8 = 200;

pub fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

pub fn ip4(source: Host, to: Host) -> Ipv4 {
    frame().ipv4(v4(source.0), v4(to.0))
}

pub fn ip6(source: Host, to: Host) -> Ipv6 {
    frame().ipv6(v6(source.1), v6(to.1))
}

pub fn tcp(source: Host, to: Host, port: u16) -> Vec<Vec<u8>> {
    vec![ip4(source, to).tcp(40_000, port).build(), ip6(source, to).tcp(40_000, port).build()]
}

pub fn udp(source: Host, to: Host, port: u16) -> Vec<Vec<u8>> {
    vec![
        ip4(source, to).udp(40_000, port, b"hello").build(),
        ip6(source, to).udp(40_000, port, b"hello").build(),
    ]
}

/// Returns segments from the middle of a session.
pub fn acked(source: Host) -> Vec<Vec<u8>> {
    let segment = || Tcp::syn(40_000, 30_092).flags(flag::ACK).payload(b"query");
    vec![ip4(source, ORDERS).carrying(segment()).build(), ip6(source, ORDERS).carrying(segment()).build()]
}

/// Returns segments with these flags.
pub fn flagged(flags: u8, source: Host, to: Host, port: u16) -> Vec<Vec<u8>> {
    let segment = || Tcp::syn(40_000, port).flags(flags);
    vec![ip4(source, to).carrying(segment()).build(), ip6(source, to).carrying(segment()).build()]
}

/// Returns segments with these flags after 40 bytes of IPv4 options, and after eight extension headers.
pub fn flagged_far(flags: u8, source: Host, to: Host, port: u16) -> Vec<Vec<u8>> {
    let segment = || Tcp::syn(40_000, port).flags(flags);
    let four = ip4(source, to).reframed(|frame| frame.vlan(0)).options([1; 40]);
    let six = (0..8).fold(ip6(source, to), |ip, _| ip.destination_options(&[]));
    vec![four.carrying(segment()).build(), six.carrying(segment()).build()]
}

/// Returns first fragments with the first `length` bytes of a segment with these flags. Behind their end follows
/// padding that would be the flags of a segment without SYN.
pub fn flagged_first(length: usize, flags: u8, source: Host, to: Host, port: u16) -> Vec<Vec<u8>> {
    let segment = || Tcp::syn(40_000, port).flags(flags);
    let padded = || frame().trailer([flag::ACK; 20]);
    let four = padded().ipv4(v4(source.0), v4(to.0)).carrying(segment());
    let six = padded().ipv6(v6(source.1), v6(to.1)).carrying(segment());
    [four, six].into_iter().map(|datagram| datagram.fragments(&[length]).swap_remove(0)).collect()
}

/// Returns ICMP messages of these types, one of each family.
pub fn icmp(source: Host, messages: (u8, u8)) -> Vec<Vec<u8>> {
    let segment = |protocol, message| Segment::icmp(protocol, message, 0, &[0; 32]);
    vec![
        ip4(source, ORDERS).carrying(segment(protocol::ICMP, messages.0)).build(),
        ip6(source, ORDERS).carrying(segment(protocol::ICMPV6, messages.1)).build(),
    ]
}

pub fn tagged(tags: usize, source: Host) -> Vec<Vec<u8>> {
    let tag = |frame: Ethernet, at: usize| {
        if at.is_multiple_of(2) { frame.vlan(0) } else { frame.service_vlan(7) }
    };
    let ethernet = || (0..tags).fold(frame(), tag);
    vec![
        ethernet().ipv4(v4(source.0), v4(ORDERS.0)).tcp(1, 30_092).build(),
        ethernet().ipv6(v6(source.1), v6(ORDERS.1)).tcp(1, 30_092).build(),
    ]
}

pub fn broken_version() -> Vec<Vec<u8>> {
    vec![
        ip4(OFFICE, ORDERS).version(5).tcp(1, 30_092).build(),
        ip6(OFFICE, ORDERS).version(5).tcp(1, 30_092).build(),
    ]
}

/// Truncates the frames to these lengths in bytes.
pub fn cut(mut frames: Vec<Vec<u8>>, lengths: &[usize]) -> Vec<Vec<u8>> {
    frames.iter_mut().zip(lengths).for_each(|(frame, length)| frame.truncate(*length));
    frames
}

pub fn options(source: Host) -> Vec<Vec<u8>> {
    let six = ip6(source, ORDERS).hop_by_hop(&[]).destination_options(&[]).routing(0, 0);
    vec![ip4(source, ORDERS).options([1; 40]).tcp(1, 30_092).build(), six.tcp(1, 30_092).build()]
}

pub fn chain(headers: usize, source: Host, to: Host, port: u16) -> Vec<Vec<u8>> {
    let four = (0..headers).fold(ip4(source, to), |ip, _| ip.extension(Extension::authentication(0)));
    let six = (0..headers).fold(ip6(source, to), |ip, _| ip.destination_options(&[]));
    vec![four.tcp(1, port).build(), six.tcp(1, port).build()]
}

/// Returns packets with a header whose stated end is far beyond the packet.
pub fn past_the_end(source: Host, to: Host, port: u16) -> Vec<Vec<u8>> {
    let long = Extension::authentication(0).stating(FAR);
    let options = Extension::options(protocol::DESTINATION_OPTIONS, &[]).stating(FAR);
    vec![
        ip4(source, to).extension(long).tcp(1, port).build(),
        ip6(source, to).extension(options).tcp(1, port).build(),
    ]
}

/// Returns a packet fragmented twice, which only IPv6 can express.
pub fn two_fragment_headers(source: Host, to: Host, port: u16) -> Vec<u8> {
    ip6(source, to).fragment(0, false).fragment(0, false).tcp(1, port).build()
}

/// Returns one of the two fragments of a segment; the first has its first 8 bytes, ports included.
pub fn fragment(which: usize, source: Host, to: Host, port: u16) -> Vec<Vec<u8>> {
    vec![
        ip4(source, to).tcp(1, port).fragments(&[8]).swap_remove(which),
        ip6(source, to).tcp(1, port).fragments(&[8]).swap_remove(which),
    ]
}

/// Returns a first fragment that ends before the ports.
pub fn portless(source: Host) -> Vec<Vec<u8>> {
    let four = ip4(source, ORDERS).fragment(0, true).carrying(Segment::raw(protocol::TCP, &[0x75]));
    let six = ip6(source, ORDERS).fragment(0, true).destination_options(&[]);
    vec![four.build(), six.carrying(Segment::raw(protocol::TCP, &[])).build()]
}
