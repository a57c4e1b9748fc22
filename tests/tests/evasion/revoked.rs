//! A datagram that starts before its source is revoked, and ends after it. Linux keeps a first fragment for half a minute,
//! and of two first fragments with the same identification the older one.

use firewall_agent::config::XdpMode;
use firewall_tests::packets::corpus::{Promise, Route, Shape};
use firewall_tests::packets::{Udp, ethertype, frame, protocol};

use crate::sockets::{DENIED, PORT, Sockets, rule_file};

/// Neither claimed nor guarded, with no socket.
const UNPROTECTED: u16 = 40_000;
/// Offsets in a frame: of the protocol in IPv4 (its checksum is then wrong), and of the next header in IPv6's fragment header.
const IPV4_PROTOCOL: usize = 14 + 9;
const IPV6_NEXT: usize = 14 + 40;
/// Bytes of the datagram in its first fragment.
const FIRST: usize = 24;

/// Returns the two fragments of a datagram to this port, of each family.
fn datagrams(route: &Route, port: u16, tag: u32) -> [Vec<Vec<u8>>; 2] {
    let udp = |tag: u32| Udp::new(20_000, port).payload(tag.to_be_bytes()).resized(48);
    let ethernet = || frame().to(route.to).from(route.from);
    let four = ethernet().ipv4(route.source4, route.destination4).id(tag as u16).carrying(udp(tag));
    let six = ethernet().ipv6(route.source6, route.destination6).id(tag + 1).carrying(udp(tag + 1));
    [four, six].map(|datagram| datagram.fragments(&[FIRST]))
}

/// Sends the first fragments to the database, runs `between`, sends first fragments of the same identification to an
/// unprotected port, and then the ends of the first datagrams. Returns the number of families in which the database's
/// socket gets its datagram.
fn finished(sockets: &Sockets, tag: u32, between: impl FnOnce()) -> usize {
    finished_by(sockets, tag, between, |end| end)
}

/// As [`finished`], with other ends.
fn finished_by(
    sockets: &Sockets,
    tag: u32,
    between: impl FnOnce(),
    end: impl Fn(Vec<u8>) -> Vec<u8>,
) -> usize {
    let route = sockets.route(DENIED);
    let (started, others) = (datagrams(&route, PORT, tag), datagrams(&route, UNPROTECTED, tag));
    let shape = |frames| Shape { name: String::new(), promise: Promise::MayDrop, tag, frames };
    let first =
        |datagrams: &[Vec<Vec<u8>>; 2]| datagrams.iter().map(|one| one[0].clone()).collect::<Vec<_>>();
    let arrived = sockets.arrived(&[shape(first(&started))]);
    assert!(!arrived.contains(&tag) && !arrived.contains(&(tag + 1)), "a first fragment alone");
    between();
    let ends = started.iter().map(|one| end(one[1].clone()));
    let arrived = sockets.arrived(&[shape(first(&others).into_iter().chain(ends).collect())]);
    [tag, tag + 1].iter().filter(|tag| arrived.contains(tag)).count()
}

/// A later fragment passes by its source alone. If it passed because the first fragment of its identification did, the
/// fragment to the unprotected port would let in the end of a datagram that the rules refuse by now.
#[test]
fn datagram_that_began_before_a_revocation_does_not_end_after_it() {
    let before = || rule_file().allow(&format!("{}/32", DENIED.ipv4)).allow(&format!("{}/128", DENIED.ipv6));
    let unfiltered = Sockets::new();
    assert_eq!(finished(&unfiltered, 0x5d00_1000, || ()), 2, "control: without the filter");
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let sockets = Sockets::new();
        let _programs = sockets.filter_with(mode, &before());
        assert_eq!(finished(&sockets, 0x5d00_2000, || ()), 2, "{mode}, control: without a revocation");
        assert_eq!(finished(&sockets, 0x5d00_3000, || sockets.put_in_force(&rule_file())), 0, "{mode}");
    }
}

/// The way that docs/verdicts.md names: the kernel takes the protocol of an IPv6 datagram from its first fragment.
#[test]
fn ipv6_datagram_ends_by_a_later_fragment_of_another_protocol() {
    let before = || rule_file().allow(&format!("{}/32", DENIED.ipv4)).allow(&format!("{}/128", DENIED.ipv6));
    let disguised = |mut end: Vec<u8>| {
        let protocol = if end[12..14] == ethertype::IPV6.to_be_bytes() { IPV6_NEXT } else { IPV4_PROTOCOL };
        end[protocol] = protocol::ICMPV6;
        end
    };
    let sockets = Sockets::new();
    let _programs = sockets.filter_with(XdpMode::Native, &before());
    assert_eq!(finished_by(&sockets, 0x5d00_4000, || sockets.put_in_force(&rule_file()), disguised), 1);
}
