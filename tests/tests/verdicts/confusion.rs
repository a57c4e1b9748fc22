//! Two databases at one address: a source that one of them allows gains nothing at the other, at a tombstone or at a
//! guarded port, whatever is done to the packet.

use firewall_tests::packets::{Extension, Segment, frame, protocol};

use crate::rows::{BOTH, OFFICE, ORDERS, STRANGER, ip4, ip6, v4};
use crate::stand::Stand;

/// Frames that mean a port in some disguise.
fn disguises(source: (&str, &str), port: u16) -> Vec<(String, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut add = |name: &str, frame: Vec<u8>| frames.push((format!("{name} to port {port}"), frame));
    add("plain", ip4(source).tcp(1, port).build());
    add("plain IPv6", ip6(source).tcp(1, port).build());
    add("UDP", ip4(source).udp(1, port, b"x").build());
    for words in 1..=10 {
        add(
            &format!("{words} words of options"),
            ip4(source).options(&vec![1; words * 4]).tcp(1, port).build(),
        );
    }
    for tags in 1..=5 {
        let tagged = (0..tags).fold(frame(), |frame, _| frame.vlan(0));
        add(&format!("{tags} tags"), tagged.ipv4(v4(source.0), v4(ORDERS.0)).tcp(1, port).build());
    }
    for headers in 1..=60 {
        let four = (0..headers).fold(ip4(source), |ip, _| ip.extension(Extension::authentication(0)));
        let six = (0..headers).fold(ip6(source), |ip, _| ip.destination_options(&[]));
        add(&format!("{headers} authentication headers"), four.tcp(1, port).build());
        add(&format!("{headers} destination options"), six.tcp(1, port).build());
    }
    add("routing header", ip6(source).routing(0, 0).tcp(1, port).build());
    add("hop-by-hop", ip6(source).hop_by_hop(&[]).tcp(1, port).build());
    add("payload length 0", ip6(source).hop_by_hop(&[]).payload_length(0).tcp(1, port).build());
    add("atomic fragment", ip6(source).fragment(0, false).tcp(1, port).build());
    add("two fragment headers", ip6(source).fragment(0, false).fragment(0, false).tcp(1, port).build());
    add("first fragment", ip4(source).tcp(1, port).fragments(&[8]).swap_remove(0));
    add("first fragment, IPv6", ip6(source).tcp(1, port).fragments(&[8]).swap_remove(0));
    add(
        "first fragment that ends before the ports",
        ip6(source).fragment(0, true).carrying(Segment::raw(protocol::TCP, &[0, 1])).build(),
    );
    for length in 0..20 {
        let mut cut = ip4(source).tcp(1, port).build();
        cut.truncate(34 + length);
        add(&format!("{length} bytes of TCP"), cut);
    }
    frames
}

#[test]
fn a_source_allowed_at_one_database_gains_nothing_at_another_or_at_a_closed_port() {
    let stand = Stand::new();
    let mut tried = 0;
    // The office is allowed at port 30092 only; 30093/udp is another database's, 5432 and 30094 are guarded.
    for port in [30_093, 5432, 30_094] {
        for (name, frame) in disguises(OFFICE, port) {
            let outcome = stand.judge(&frame, None);
            assert!(!outcome.reason.passes(), "{name}: {outcome:?}");
            tried += 1;
        }
    }
    assert!(tried > 400, "only {tried} frames were tried");
}

#[test]
fn a_source_allowed_by_nobody_passes_nowhere_and_one_allowed_by_all_only_where_every_port_is_open() {
    let stand = Stand::new();
    for port in [30_092, 30_093, 5432] {
        for (name, frame) in disguises(STRANGER, port) {
            assert!(!stand.judge(&frame, None).reason.passes(), "{name}");
        }
    }
    // Guarded ports are closed to everyone: what hides its port may mean one of them.
    for (name, frame) in disguises(BOTH, 5432) {
        assert!(!stand.judge(&frame, None).reason.passes(), "{name}");
    }
}

#[test]
fn the_disguises_do_pass_for_a_source_that_the_port_allows() {
    let stand = Stand::new();
    let passed = disguises(OFFICE, 30_092)
        .into_iter()
        .filter(|(_, frame)| stand.judge(frame, None).reason.passes())
        .count();
    // Plain, options, tags, up to eight headers, fragments: what is dropped is dropped for its shape, not by chance.
    assert!(passed >= 35, "only {passed} passed");
}
