//! The reference decision itself, checked against handwritten rows.

use std::net::{Ipv4Addr, Ipv6Addr};

use firewall_tests::packets::flag::{ACK, FIN, RST, SYN};
use firewall_tests::packets::protocol::{AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, ICMP, TCP};
use firewall_tests::packets::{Extension, Ipv4, Ipv6, Segment, Tcp, frame};

use crate::decision::decide;
use crate::policies::{answered, guarded, monitored, two_on_one_address};
use crate::policy::Policy;

/// Under the first policy: allowed at both databases, at the first alone, and at none.
const BOTH: &str = "203.0.113.65";
const ONE: &str = "203.0.113.1";
const NONE: &str = "198.51.100.66";
const BOTH6: &str = "2001:db8:a:1::1";
const ONE6: &str = "2001:db8:a:2::1";
const NONE6: &str = "2001:db8:bad::1";
const ELSEWHERE: &str = "192.0.2.77";

#[test]
fn port_is_judged_by_its_endpoint() {
    let expect = Expect(two_on_one_address());
    expect.row("allowed 2", "longest network", v4("203.0.113.200").tcp(1, 30_092));
    expect.row("allowed 1", "shorter network", v4(ONE).tcp(1, 30_092));
    expect.row("no_match", "the other database", v4(ONE).tcp(1, 30_093));
    expect.row("allowed 4", "UDP endpoint", v4(BOTH).udp(1, 30_093, &[]));
    expect.row("not_protected", "no UDP endpoint", v4(BOTH).udp(1, 30_092, &[]));
    expect.row("allowed 3", "IPv6", v6(ONE6).tcp(1, 30_092));
    expect.row("no_match", "IPv6, the other database", v6(ONE6).tcp(1, 30_093));
    expect.row("no_match", "no source allowed", v4_to("192.0.2.11", ONE).tcp(1, 5_432));
    expect.row("not_protected", "other protocol", v4(NONE).carrying(Segment::icmp(ICMP, 8, 0, &[0; 4])));
    expect.row("allowed 1", "options", v4(ONE).options([1; 40]).tcp(1, 30_092));
    expect.row("allowed 3", "eight headers", v6_chain(ONE6, 8).tcp(1, 30_092));
    expect.row("no_match", "atomic fragment", v6(ONE6).fragment(0, false).tcp(1, 30_093));
    expect.row("allowed 3", "payload length 0", v6(ONE6).hop_by_hop(&[]).payload_length(0).tcp(1, 30_092));
    expect.row("allowed 1", "AH", v4(ONE).extension(Extension::authentication(12)).tcp(1, 30_092));
}

#[test]
fn fragment_is_judged_by_its_contents() {
    let expect = Expect(two_on_one_address());
    let first = |source| v4(source).tcp(1, 30_092).fragments(&[8])[0].clone();
    let later = |source| v4(source).tcp(1, 30_093).fragments(&[8])[1].clone();
    let first6 = |source| v6(source).fragment(0, true);
    expect.row("allowed 1", "first, with its ports", first(ONE));
    expect.row("no_match", "first, with its ports, denied", first(NONE));
    expect.row("no_port", "first, without", cut(4, v4(BOTH).fragment(0, true).carrying(ports())));
    expect.row("allowed", "later, one allows", later(ONE));
    expect.row("fragment", "later, none allows", later(NONE));
    expect.row("fragment", "later, IPv6", v6(NONE6).tcp(1, 30_093).fragments(&[8])[1].clone());
    expect.row("not_protected", "later, of ICMP", v4(NONE).fragment(8, false).protocol(ICMP).tcp(1, 1));
    expect.row("not_protected", "later, elsewhere", v4_to(ELSEWHERE, NONE).fragment(8, true).tcp(1, 1));
    expect.row("no_port", "first, header past its end", first6(BOTH6).extension(long()).tcp(1, 1));
    expect.row("no_port", "first, second fragment header past its end", first6(BOTH6).carrying(header(4)));
    expect.row("allowed", "first, second fragment header", first6(BOTH6).carrying(header(8)));
}

#[test]
fn unreadable_chain_is_judged_by_its_address() {
    let expect = Expect(two_on_one_address());
    expect.row("allowed", "nine headers, all allow", v4_chain(BOTH, 9).tcp(1, 30_092));
    expect.row("no_port", "nine headers, one allows", v4_chain(ONE, 9).tcp(1, 30_092));
    expect.row("no_port", "nine headers, IPv6", v6_chain(ONE6, 9).tcp(1, 30_092));
    expect.row("no_port", "header past the end, one allows", v6(ONE6).extension(long()).tcp(1, 30_092));
    expect.row("allowed", "header past the end, all allow", v6(BOTH6).extension(long()).tcp(1, 30_092));
    let twice = v6(ONE6).fragment(0, false).fragment(0, false);
    expect.row("no_port", "two fragment headers", twice.tcp(1, 30_092));
    let later_twice = v6(ONE6).fragment(0, false).fragment(8, false);
    expect.row("no_port", "two fragment headers, the second of a later one", later_twice.tcp(1, 30_092));
}

#[test]
fn broken_headers_are_distinguished() {
    let expect = Expect(two_on_one_address());
    expect.row("not_ip", "no IP", frame().lldp());
    expect.row("no_match", "four tags", tagged(4));
    expect.row("vlan_depth", "five tags", tagged(5));
    expect.row("malformed", "tag cut short", cut(1, frame().vlan(0).carrying(0, &[])));
    expect.row("malformed", "IPv4 header of 19 bytes", cut(1, v4(ONE).carrying(Segment::raw(TCP, &[]))));
    expect.row("malformed", "header of 4 words", v4(ONE).header_words(4).tcp(1, 30_092));
    expect.row("malformed", "header past the frame", v4(ONE).header_words(15).tcp(1, 30_092));
    expect.row("malformed", "total length below the header", v4(ONE).total_length(19).tcp(1, 30_092));
    expect.row("malformed", "version 6 in IPv4", v4(ONE).version(6).tcp(1, 30_092));
    expect.row("malformed", "version 4 in IPv6", v6(ONE6).version(4).tcp(1, 30_092));
    expect.row("malformed", "truncated UDP", cut(1, v4(NONE).udp(1, 30_093, &[])));
    expect.row("malformed", "nothing after the header", v4(ONE).total_length(20).tcp(1, 30_092));
    expect.row("not_protected", "the same elsewhere", v4_to(ELSEWHERE, ONE).total_length(20).tcp(1, 1));
    let padded = frame().trailer([0; 20]).ipv4(address(NONE), address("192.0.2.10"));
    expect.row("malformed", "ports in the padding", padded.carrying(Segment::raw(TCP, &[0, 1])));
}

#[test]
fn guards_and_tombstones_deny() {
    let expect = Expect(guarded());
    expect.row("closed", "guarded", v4(ONE).tcp(1, 30_093));
    expect.row("closed", "guarded, by UDP", v4(ONE).udp(1, 30_092, &[]));
    expect.row("allowed 10", "claimed", v4(ONE).tcp(1, 30_092));
    expect.row("closed", "tombstone", v4_to("192.0.2.12", ONE).udp(1, 80, &[]));
    expect.row("not_protected", "beside a tombstone", v4_to("192.0.2.12", ONE).tcp(1, 80));
    expect.row("no_port", "nine headers, allowed", v4_chain(ONE, 9).tcp(1, 30_092));
    let cut_short = v4_to(ELSEWHERE, ONE).extension(long()).protocol(AUTHENTICATION);
    expect.row("no_port", "header past the end, elsewhere", cut_short.tcp(1, 1));
    expect.row(
        "not_protected",
        "later fragment, elsewhere",
        v4_to(ELSEWHERE, ONE).fragment(8, false).tcp(1, 1),
    );
}

#[test]
fn answers_pass_at_ports_closed_to_new_connections_only() {
    let expect = Expect(answered());
    let segment = |flags| v4(NONE).carrying(Tcp::syn(1, 30_500).flags(flags));
    let segment6 = |flags| v6(NONE6).carrying(Tcp::syn(1, 30_500).flags(flags));
    for flags in [SYN, SYN | FIN, SYN | RST] {
        expect.row("closed", "may open a connection", segment(flags));
        expect.row("closed", "may open a connection, IPv6", segment6(flags));
    }
    for flags in [SYN | ACK, ACK, ACK | FIN, RST, 0] {
        expect.row("not_protected", "opens none", segment(flags));
        expect.row("not_protected", "opens none, IPv6", segment6(flags));
    }
    expect.row("closed", "UDP", v4(NONE).udp(1, 30_500, &[]));
    expect.row("closed", "tombstone", v4(ONE).carrying(Tcp::syn(1, 30_200).flags(ACK)));
    expect.row("closed", "every packet", v4(ONE).carrying(Tcp::syn(1, 30_195).flags(ACK)));
    expect.row("no_match", "endpoint", v4(NONE).carrying(Tcp::syn(1, 30_092).flags(ACK)));
    expect.row("not_protected", "first fragment", segment(ACK).fragments(&[16])[0].clone());
    expect.row("closed", "first fragment without its flags", segment(ACK).fragments(&[8])[0].clone());
}

#[test]
fn monitored_databases_admit() {
    let stranger = "100.64.0.1";
    let expect = Expect(monitored());
    expect.row("would_deny", "monitored", v4(NONE).tcp(1, 30_092));
    expect.row("no_match", "enforced", v4(stranger).tcp(1, 30_093));
    expect.row("would_deny", "wildcard", v4_to(ELSEWHERE, NONE).tcp(1, 5_432));
    expect.row("would_deny", "later fragment", v4(stranger).fragment(8, false).tcp(1, 1));
    expect.row("no_port", "nine headers, the enforcing one denies", v4_chain(stranger, 9).tcp(1, 1));
    expect.row("would_deny", "nine headers, the enforcing one allows", v4_chain(NONE, 9).tcp(1, 1));
}

struct Expect(Policy);

impl Expect {
    /// Compares with `decision`: a reason, followed by the rule's number where one is named.
    fn row(&self, decision: &str, name: &str, frame: impl Into<Vec<u8>>) {
        let decided = decide(&self.0, &frame.into());
        let words =
            decided.rule.map_or(decided.reason.to_owned(), |rule| format!("{} {rule}", decided.reason));
        assert_eq!(words, decision, "{name}");
    }
}

fn v4(source: &str) -> Ipv4 {
    v4_to("192.0.2.10", source)
}

fn v4_to(destination: &str, source: &str) -> Ipv4 {
    frame().ipv4(address(source), address(destination))
}

fn v6(source: &str) -> Ipv6 {
    frame().ipv6(source.parse::<Ipv6Addr>().unwrap(), "2001:db8:2::10".parse().unwrap())
}

fn v4_chain(source: &str, count: usize) -> Ipv4 {
    (0..count).fold(v4(source), |ip, _| ip.extension(Extension::authentication(0)))
}

fn v6_chain(source: &str, count: usize) -> Ipv6 {
    (0..count).fold(v6(source), |ip, _| ip.destination_options(&[]))
}

fn tagged(count: usize) -> Vec<u8> {
    let tagged = (0..count).fold(frame(), |frame, _| frame.vlan(0));
    tagged.ipv4(address(NONE), address("192.0.2.10")).tcp(1, 30_092).build()
}

/// Returns a header with a stated length beyond the packet.
fn long() -> Extension {
    Extension::options(DESTINATION_OPTIONS, &[]).stating(200)
}

/// Returns the first `length` bytes of a fragment header.
fn header(length: usize) -> Segment {
    Segment::raw(FRAGMENT, &vec![0; length])
}

fn ports() -> Segment {
    Segment::raw(TCP, &[0, 1, 0x75, 0x8c, 0, 0, 0])
}

/// Truncates a frame; its length fields still count the removed bytes.
fn cut(bytes: usize, frame: impl Into<Vec<u8>>) -> Vec<u8> {
    let mut frame = frame.into();
    frame.truncate(frame.len() - bytes);
    frame
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}
