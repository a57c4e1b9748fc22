//! The table: a name, a frame of each family, the reason, and the rule that counts it.

use std::net::{Ipv4Addr, Ipv6Addr};

use firewall_common::Reason;
use firewall_tests::packets::{Extension, Ipv4, Ipv6, Segment, flag, frame, protocol};

pub struct Row {
    pub name: &'static str,
    pub frames: Vec<Vec<u8>>,
    pub reason: Reason,
    /// `Some("")` is a default line.
    pub line: Option<&'static str>,
}

pub const ORDERS: (&str, &str) = ("192.0.2.10", "2001:db8:2::10");
const LAB: (&str, &str) = ("192.0.2.20", "2001:db8:2::20");
const LEFT: (&str, &str) = ("192.0.2.30", "2001:db8:2::30");
const ELSEWHERE: (&str, &str) = ("192.0.2.99", "2001:db8:2::99");
pub const OFFICE: (&str, &str) = ("203.0.113.9", "2001:db8:a::9");
const DESK: (&str, &str) = ("203.0.113.7", "2001:db8:a::7");
pub const BOTH: (&str, &str) = ("203.0.113.129", "2001:db8:a:1::9");
pub const STRANGER: (&str, &str) = ("100.64.0.1", "2001:db8:bad::1");

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name, frames: Vec<Vec<u8>>, reason, line| rows.push(Row { name, frames, reason, line });
    let everything = vec![
        ("ARP", frame().arp_request(v4(STRANGER.0), v4(ORDERS.0))),
        ("LLDP", frame().lldp()),
        ("MPLS", frame().carrying(0x8847, &[0; 40])),
    ];
    for (name, other) in everything {
        row(name, vec![other], Reason::NotIp, None);
    }
    row("neighbour solicitation", vec![icmp4(3, STRANGER), icmp6(135, STRANGER)], Reason::NotProtected, None);
    row("ICMP error", vec![icmp4(11, STRANGER), icmp6(1, STRANGER)], Reason::NotProtected, None);
    row("other port", tcp(STRANGER, ORDERS, 22), Reason::NotProtected, None);
    row("other address", tcp(STRANGER, ELSEWHERE, 80), Reason::NotProtected, None);
    row("four tags", tagged(4, OFFICE), Reason::Allowed, Some("office"));
    row("five tags", tagged(5, OFFICE), Reason::VlanDepth, None);
    row("allowed", tcp(OFFICE, ORDERS, 30_092), Reason::Allowed, Some("office"));
    row("allowed by the longer prefix", tcp(DESK, ORDERS, 30_092), Reason::Allowed, Some("desk"));
    row("denied", tcp(STRANGER, ORDERS, 30_092), Reason::NoMatch, Some(""));
    row("established, denied", acked(STRANGER), Reason::NoMatch, Some(""));
    row("monitored", tcp(STRANGER, LAB, 6432), Reason::WouldDeny, Some(""));
    row("tombstone", tcp(OFFICE, LEFT, 7432), Reason::Closed, None);
    row("guarded", tcp(OFFICE, ELSEWHERE, 5432), Reason::Closed, None);
    row("guarded by UDP beside a TCP endpoint", udp(OFFICE, ORDERS, 30_092), Reason::Closed, None);
    row("broken version", broken(|ip| ip.version(5), |ip| ip.version(5)), Reason::Malformed, None);
    row("IHL below 5", vec![ip4(OFFICE).header_words(4).tcp(1, 30_092).build()], Reason::Malformed, None);
    row("header cut", cut(tcp(OFFICE, ORDERS, 30_092), &[30, 50]), Reason::Malformed, None);
    row(
        "TCP header cut",
        cut(tcp(OFFICE, ORDERS, 30_092), &[14 + 20 + 19, 14 + 40 + 19]),
        Reason::Malformed,
        None,
    );
    row(
        "TCP header cut, guarded address",
        cut(tcp(OFFICE, ELSEWHERE, 80), &[40, 60]),
        Reason::Malformed,
        None,
    );
    row("options", options(OFFICE), Reason::Allowed, Some("office"));
    row("options, denied", options(STRANGER), Reason::NoMatch, Some(""));
    row("eight headers", chain(8, OFFICE), Reason::Allowed, Some("office"));
    row("nine headers", chain(9, BOTH), Reason::NoPort, None);
    row("first fragment", fragment(0, OFFICE, ORDERS), Reason::Allowed, Some("office"));
    row("first fragment, denied", fragment(0, STRANGER, ORDERS), Reason::NoMatch, Some(""));
    row("first fragment without ports", portless(OFFICE), Reason::NoPort, None);
    row("later fragment", fragment(1, OFFICE, ORDERS), Reason::Allowed, Some("office"));
    row("later fragment, denied", fragment(1, STRANGER, ORDERS), Reason::Fragment, Some(""));
    row("later fragment, monitored", fragment(1, STRANGER, LAB), Reason::WouldDeny, Some(""));
    row("later fragment elsewhere", fragment(1, STRANGER, ELSEWHERE), Reason::NotProtected, None);
    rows.into_iter().flat_map(by_family).collect()
}

/// A row whose line is a rule is one for each family: the IPv6 rules have names of their own.
fn by_family(row: Row) -> Vec<Row> {
    let six = match row.line {
        Some("office") => Some("office6"),
        Some("desk") => Some("desk6"),
        _ => return vec![row],
    };
    let lines = [row.line, six];
    let one = |(frame, line)| Row { name: row.name, frames: vec![frame], reason: row.reason, line };
    row.frames.into_iter().zip(lines).map(one).collect()
}

pub fn ip4(source: (&str, &str)) -> Ipv4 {
    frame().ipv4(v4(source.0), v4(ORDERS.0))
}

pub fn ip6(source: (&str, &str)) -> Ipv6 {
    frame().ipv6(v6(source.1), v6(ORDERS.1))
}

pub fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn tcp(source: (&str, &str), to: (&str, &str), port: u16) -> Vec<Vec<u8>> {
    vec![
        frame().ipv4(v4(source.0), v4(to.0)).tcp(40_000, port).build(),
        frame().ipv6(v6(source.1), v6(to.1)).tcp(40_000, port).build(),
    ]
}

fn udp(source: (&str, &str), to: (&str, &str), port: u16) -> Vec<Vec<u8>> {
    vec![
        frame().ipv4(v4(source.0), v4(to.0)).udp(40_000, port, b"hello").build(),
        frame().ipv6(v6(source.1), v6(to.1)).udp(40_000, port, b"hello").build(),
    ]
}

/// In the middle of a session: stateless on purpose.
fn acked(source: (&str, &str)) -> Vec<Vec<u8>> {
    let segment = || firewall_tests::packets::Tcp::syn(40_000, 30_092).flags(flag::ACK).payload(b"query");
    vec![ip4(source).carrying(segment()).build(), ip6(source).carrying(segment()).build()]
}

fn icmp4(message: u8, source: (&str, &str)) -> Vec<u8> {
    ip4(source).carrying(Segment::icmp(protocol::ICMP, message, 0, &[0; 32])).build()
}

fn icmp6(message: u8, source: (&str, &str)) -> Vec<u8> {
    ip6(source).carrying(Segment::icmp(protocol::ICMPV6, message, 0, &[0; 32])).build()
}

fn tagged(tags: usize, source: (&str, &str)) -> Vec<Vec<u8>> {
    let ethernet = || {
        (0..tags).fold(frame(), |frame, at| if at % 2 == 0 { frame.vlan(0) } else { frame.service_vlan(7) })
    };
    vec![
        ethernet().ipv4(v4(source.0), v4(ORDERS.0)).tcp(1, 30_092).build(),
        ethernet().ipv6(v6(source.1), v6(ORDERS.1)).tcp(1, 30_092).build(),
    ]
}

fn broken(four: impl Fn(Ipv4) -> Ipv4, six: impl Fn(Ipv6) -> Ipv6) -> Vec<Vec<u8>> {
    vec![four(ip4(OFFICE)).tcp(1, 30_092).build(), six(ip6(OFFICE)).tcp(1, 30_092).build()]
}

fn cut(mut frames: Vec<Vec<u8>>, lengths: &[usize]) -> Vec<Vec<u8>> {
    frames.iter_mut().zip(lengths).for_each(|(frame, length)| frame.truncate(*length));
    frames
}

fn options(source: (&str, &str)) -> Vec<Vec<u8>> {
    vec![
        ip4(source).options(&[1; 40]).tcp(1, 30_092).build(),
        ip6(source).hop_by_hop(&[]).destination_options(&[]).routing(0, 0).tcp(1, 30_092).build(),
    ]
}

pub fn chain(headers: usize, source: (&str, &str)) -> Vec<Vec<u8>> {
    let four = (0..headers).fold(ip4(source), |ip, _| ip.extension(Extension::authentication(12)));
    let six = (0..headers).fold(ip6(source), |ip, _| ip.destination_options(&[]));
    vec![four.tcp(1, 30_092).build(), six.tcp(1, 30_092).build()]
}

fn fragment(which: usize, source: (&str, &str), to: (&str, &str)) -> Vec<Vec<u8>> {
    let port = if to == LAB { 6432 } else { 30_092 };
    vec![
        frame().ipv4(v4(source.0), v4(to.0)).tcp(1, port).fragments(&[8]).swap_remove(which),
        frame().ipv6(v6(source.1), v6(to.1)).tcp(1, port).fragments(&[8]).swap_remove(which),
    ]
}

/// A first fragment that ends before the ports.
fn portless(source: (&str, &str)) -> Vec<Vec<u8>> {
    vec![
        ip4(source).fragment(0, true).carrying(Segment::raw(protocol::TCP, &[0x75])).build(),
        ip6(source)
            .fragment(0, true)
            .destination_options(&[])
            .carrying(Segment::raw(protocol::TCP, &[]))
            .build(),
    ]
}
