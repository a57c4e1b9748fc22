//! At low rates the kernel records every denied packet: address, reason, class.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread::sleep;
use std::time::Duration;

use firewall_agent::bpf::Class;
use firewall_agent::rules::Protocol;
use firewall_agent::sync::{CounterId, DataPlane as _, Desired, publish};
use firewall_common::{Reason, fast_path};
use firewall_tests::packets::{Segment, frame, protocol};
use jiff::Timestamp;

use crate::setup::{MONITORED, OFFICE, ORDERS, SERVER, default_counter, in_force, in_force_with};

const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);
const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);
const WATCHED_HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);

/// One kind of packet and its expected record: frame, count, reason, class, source, port, the counter's database.
struct Kind {
    frame: Vec<u8>,
    count: u64,
    reason: Reason,
    class: Class,
    source: Option<IpAddr>,
    port: u16,
    database: Option<&'static str>,
}

fn kinds() -> Vec<Kind> {
    let v4 = || frame().ipv4(STRANGER, SERVER);
    let kind = |count, reason, class, port, database, frame| Kind {
        frame,
        count,
        reason,
        class,
        source: Some(STRANGER.into()),
        port,
        database,
    };
    let mut kinds = vec![
        kind(3, Reason::NoMatch, Class::Syn, ORDERS, Some("orders"), v4().tcp(40_000, ORDERS).build()),
        kind(
            4,
            Reason::NoMatch,
            Class::Tcp,
            ORDERS,
            Some("orders"),
            not_syn(v4().tcp(40_000, ORDERS).build()),
        ),
        kind(5, Reason::Closed, Class::Udp, 5_432, None, v4().udp(9, 5_432, b"?").build()),
        kind(6, Reason::Closed, Class::Syn, 5_432, None, v4().tcp(40_000, 5_432).build()),
        kind(
            7,
            Reason::Fragment,
            Class::None,
            0,
            Some("orders"),
            v4().fragment(8, false).tcp(1, ORDERS).build(),
        ),
        kind(
            8,
            Reason::NoPort,
            Class::None,
            0,
            None,
            v4().fragment(0, true).carrying(Segment::raw(protocol::TCP, &[0; 2])).build(),
        ),
        kind(
            9,
            Reason::WouldDeny,
            Class::Syn,
            MONITORED,
            Some("watched"),
            frame().ipv4(STRANGER, WATCHED_HOST).tcp(40_000, MONITORED).build(),
        ),
    ];
    kinds.push(Kind {
        source: Some(STRANGER6.into()),
        ..kind(
            10,
            Reason::NoMatch,
            Class::Syn,
            ORDERS,
            Some("orders"),
            frame().ipv6(STRANGER6, SERVER6).tcp(40_000, ORDERS).build(),
        )
    });
    kinds.push(Kind {
        source: None,
        ..kind(11, Reason::Malformed, Class::None, 0, None, v4().header_words(4).tcp(1, ORDERS).build())
    });
    kinds
}

/// Returns the same TCP segment with ACK set and SYN cleared. The program ignores the checksum.
fn not_syn(mut frame: Vec<u8>) -> Vec<u8> {
    frame[14 + 20 + 13] = 0x10;
    frame
}

#[test]
fn each_denied_packet_is_recorded_with_all_fields() {
    let loaded = in_force();
    let kinds = kinds();
    let before = Timestamp::now();
    for kind in &kinds {
        for _ in 0..kind.count {
            loaded.firewall.run(&kind.frame, None).unwrap();
            // The sampler counts as a flood more than a few packets in a clock tick.
            sleep(Duration::from_millis(2));
        }
    }
    let passing = frame().ipv4(OFFICE, SERVER).tcp(40_000, ORDERS).build();
    loaded.firewall.run(&passing, None).unwrap();

    let denied = loaded.kernel.denied().unwrap();
    assert_eq!(denied.len(), kinds.len(), "{denied:?}");
    for kind in &kinds {
        let found = denied.iter().find(|one| {
            (one.what.reason, one.what.class, one.what.source, one.what.port)
                == (kind.reason, kind.class, kind.source, kind.port)
        });
        let one = found.unwrap_or_else(|| panic!("{:?} {:?}: {denied:?}", kind.reason, kind.class));
        assert_eq!(one.packets, kind.count, "{one:?}");
        assert_eq!(
            one.what.counter,
            kind.database.map_or(CounterId::NONE, |id| default_counter(&loaded, id)),
            "{one:?}"
        );
        assert_eq!(one.what.destination.is_some(), kind.source.is_some(), "{one:?}");
        let protocol = match kind.class {
            Class::Syn | Class::Tcp => Some(Protocol::Tcp),
            Class::Udp => Some(Protocol::Udp),
            Class::None => None,
        };
        assert_eq!(one.what.protocol, protocol, "{one:?}");
        let slack = jiff::SignedDuration::from_millis(100);
        assert!(before - slack <= one.first_seen && one.first_seen < one.last_seen, "{one:?}");
        assert!(one.last_seen <= Timestamp::now(), "{one:?}");
    }
    let totals = loaded.kernel.denied_totals().unwrap();
    let sent: u64 = kinds.iter().map(|kind| kind.count).sum();
    assert_eq!((totals.seen, totals.recorded, totals.unrecorded, totals.records), (sent, sent, 0, sent));
}

/// As on a kernel where one run may interrupt another.
#[test]
fn program_without_recording_gives_equal_verdicts() {
    let (silent, loaded) = (in_force_with(fast_path::ALL | fast_path::UNRECORDED), in_force());
    for kind in kinds() {
        let actions = [&silent, &loaded].map(|loaded| loaded.firewall.run(&kind.frame, None).unwrap());
        assert_eq!(actions[0], actions[1], "{:?} {:?}", kind.reason, kind.class);
    }
    assert_eq!((silent.kernel.denied().unwrap().len(), silent.kernel.denied_totals().unwrap().seen), (0, 0));
    assert!(!loaded.kernel.denied().unwrap().is_empty());
}

#[test]
fn probe_is_not_recorded() {
    let loaded = in_force();
    for kind in kinds() {
        loaded.probe.answer(&kind.frame, None).unwrap();
    }
    assert_eq!((loaded.kernel.denied().unwrap().len(), loaded.kernel.denied_totals().unwrap().seen), (0, 0));
}

#[test]
fn denial_records_are_removed_with_their_database() {
    let mut loaded = in_force();
    for kind in kinds() {
        loaded.firewall.run(&kind.frame, None).unwrap();
        sleep(Duration::from_millis(2));
    }
    let counter = default_counter(&loaded, "orders");
    assert!(loaded.kernel.denied().unwrap().iter().any(|one| one.what.counter == counter));
    let guarded = loaded.live.guarded.clone();
    let removed = ["orders".parse().unwrap()].into();
    let desired = Desired { removed, guarded, monitor: true, ..Desired::default() };
    let done = publish(&desired, &mut loaded.live, &mut loaded.kernel, Timestamp::now());
    assert_eq!(
        (done.removed.len(), done.failed.len(), loaded.kernel.sizes().databases),
        (1, 0, 16),
        "{done:?}"
    );
    let left = loaded.kernel.denied().unwrap();
    assert!(!left.is_empty() && left.iter().all(|one| one.what.counter != counter), "{left:?}");
}
