//! `rules`, `databases`, `ranges` and `status` count each packet on the wire exactly once, on the right rule counter.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use firewall_tests::lab::{INTERFACE, TestHost, eventually};
use firewall_tests::packets::{Segment, protocol};
use serde_json::Value;

use crate::setup::populated;

const SERVER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);
const OFFICE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const APP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 4, 0, 0, 0, 0, 7);
const NODE: Ipv4Addr = Ipv4Addr::new(10, 231, 23, 5);

/// Packets and bytes.
type Tally = (u64, u64);

/// Identical frames and their expected counters.
struct Batch {
    count: u64,
    frame: Vec<u8>,
    reason: &'static str,
    /// Database and rule; the rule of the default counter is empty.
    rule: Option<(&'static str, &'static str)>,
}

#[test]
fn every_packet_is_counted_once_on_its_reason_and_on_its_rule() {
    let host = populated();
    let batches = batches(&host);
    let (mut reasons, mut lines) = (BTreeMap::new(), BTreeMap::new());
    let wire = host.wire(INTERFACE);
    for batch in &batches {
        let bytes = batch.count * batch.frame.len() as u64;
        add(reasons.entry(batch.reason.to_owned()).or_default(), (batch.count, bytes));
        if let Some((database, rule)) = batch.rule {
            add(lines.entry((database.to_owned(), rule.to_owned())).or_default(), (batch.count, bytes));
        }
        (0..batch.count).for_each(|_| wire.send(&batch.frame).unwrap());
    }
    let counted = || {
        let mut counted = tallies(&host.json(&["status"])["counters"], |row| text(row, "reason"));
        // The hosts' own traffic.
        counted.retain(|reason, _| !["not_ip", "not_protected"].contains(&reason.as_str()));
        counted
    };
    let complete = eventually(Duration::from_secs(5), "every packet is counted", || {
        (counted() == reasons).then_some(())
    });
    assert!(complete.is_ok(), "{:?} instead of {reasons:?}", counted());
    let rows = host.json(&["rules"]);
    let found = tallies(&rows, |row| (text(row, "database_id"), text(row, "rule")));
    assert_eq!(found, lines);
    for row in rows.as_array().unwrap() {
        assert_eq!(row["last_hit"].is_string(), row["packets"] != 0, "{row}");
    }
    let databases = host.json(&["databases"]);
    for (id, allowed, denied) in [("orders", 12, 6), ("watched", 9, 10), ("wide", 7, 8)] {
        let rows = databases["databases"].as_array().unwrap();
        let row = rows.iter().find(|row| row["database_id"] == id).unwrap();
        assert_eq!(
            (&row["packets_allowed"], &row["packets_denied"]),
            (&allowed.into(), &denied.into()),
            "{row}"
        );
    }
    let range = &host.json(&["ranges"])[0];
    let managed = lines[&("orders".to_owned(), "fr-2".to_owned())];
    assert_eq!((range["packets"].as_u64(), range["bytes"].as_u64()), (Some(managed.0), Some(managed.1)));
    assert!(range["last_hit"].is_string(), "{range}");
    let table = host.ask(&["rules"]).out;
    let office: Vec<&str> =
        table.lines().find(|line| line.contains("Office")).unwrap().split_whitespace().collect();
    let (packets, bytes) = lines[&("orders".to_owned(), "fr-1".to_owned())];
    assert_eq!(office[..4], ["orders", "fr-1", "custom_range", "203.0.113.0/24"]);
    assert_eq!(office[4..6], [packets.to_string(), bytes.to_string()]);
}

fn batches(host: &TestHost) -> Vec<Batch> {
    let ethernet = || host.frame(INTERFACE);
    let syn = |source, port| ethernet().ipv4(source, SERVER4).tcp(40_000, port).build();
    let batch = |count, reason, rule, frame| Batch { count, frame, reason, rule };
    let tagged = (0..5).fold(ethernet(), |ethernet, _| ethernet.vlan(0));
    vec![
        batch(3, "allowed", Some(("orders", "fr-1")), syn(OFFICE, 30_092)),
        batch(
            4,
            "allowed",
            Some(("orders", "fr-2")),
            ethernet().ipv6(APP, SERVER6).udp(9, 30_092, b"?").build(),
        ),
        batch(5, "allowed", Some(("orders", "10.231.23.0/24")), syn(NODE, 30_092)),
        batch(6, "no_match", Some(("orders", "")), syn(STRANGER, 30_092)),
        batch(7, "allowed", Some(("wide", "fr-1")), syn(OFFICE, 30_100)),
        batch(8, "no_match", Some(("wide", "")), syn(STRANGER, 30_100)),
        batch(9, "allowed", Some(("watched", "fr-1")), syn(OFFICE, 30_200)),
        batch(10, "would_deny", Some(("watched", "")), syn(STRANGER, 30_200)),
        batch(11, "closed", None, syn(OFFICE, 20_300)),
        batch(12, "closed", None, syn(OFFICE, 5_432)),
        batch(13, "malformed", None, ethernet().ipv4(OFFICE, SERVER4).header_words(4).tcp(1, 30_092).build()),
        batch(14, "vlan_depth", None, tagged.ipv4(OFFICE, SERVER4).tcp(1, 30_092).build()),
        batch(
            15,
            "no_port",
            None,
            ethernet().ipv4(STRANGER, SERVER4).fragment(0, true).carrying(short()).build(),
        ),
    ]
}

/// A TCP header too short to contain ports.
fn short() -> Segment {
    Segment::raw(protocol::TCP, &[0; 2])
}

fn add(tally: &mut Tally, (packets, bytes): Tally) {
    *tally = (tally.0 + packets, tally.1 + bytes);
}

/// Returns the rows with nonzero counters.
fn tallies<K: Ord>(rows: &Value, key: impl Fn(&Value) -> K) -> BTreeMap<K, Tally> {
    let number = |row: &Value, field| row[field].as_u64().unwrap();
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| (key(row), (number(row, "packets"), number(row, "bytes"))))
        .filter(|(_, tally)| tally.0 > 0)
        .collect()
}

fn text(row: &Value, field: &str) -> String {
    row[field].as_str().unwrap().to_owned()
}
