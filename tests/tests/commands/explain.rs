//! `explain`: the kernel's verdict in words.

use serde_json::{Value, json};

use firewall_tests::lab::TestHost;

use crate::setup::populated;

/// Source, destination, exit code; then for each packet: endpoint, reason, database, rule.
type Case = (&'static str, &'static str, i32, &'static [(&'static str, &'static str, Option<Rule>)]);
type Rule = (&'static str, &'static str);

const CASES: &[Case] = &[
    ("203.0.113.7", "orders", 0, &[("192.0.2.10:30092/tcp", "allowed", Some(("orders", "fr-1")))]),
    ("203.0.113.7", "192.0.2.10:30092", 0, &[("192.0.2.10:30092/tcp", "allowed", Some(("orders", "fr-1")))]),
    (
        "203.0.113.7",
        "192.0.2.10:30092/tcp",
        0,
        &[("192.0.2.10:30092/tcp", "allowed", Some(("orders", "fr-1")))],
    ),
    ("198.51.100.7", "orders", 0, &[("192.0.2.10:30092/tcp", "allowed", Some(("orders", "fr-2")))]),
    ("10.231.23.5", "orders", 0, &[("192.0.2.10:30092/tcp", "allowed", Some(("orders", "10.231.23.0/24")))]),
    ("198.51.100.9", "orders", 3, &[("192.0.2.10:30092/tcp", "no_match", Some(("orders", "")))]),
    (
        "2001:db8:4::7",
        "orders",
        0,
        &[
            ("[2001:db8:2::10]:30092/tcp", "allowed", Some(("orders", "fr-2"))),
            ("[2001:db8:2::10]:30092/udp", "allowed", Some(("orders", "fr-2"))),
        ],
    ),
    (
        "2001:db8:4::8",
        "[2001:db8:2::10]:30092/udp",
        3,
        &[("[2001:db8:2::10]:30092/udp", "no_match", Some(("orders", "")))],
    ),
    ("203.0.113.7", "192.0.2.10:30092/udp", 3, &[("192.0.2.10:30092/udp", "closed", None)]),
    ("203.0.113.7", "wide", 0, &[("*:30100/tcp", "allowed", Some(("wide", "fr-1")))]),
    ("2001:db8:4::9", "wide", 0, &[("*:30100/tcp", "allowed", Some(("wide", "fr-2")))]),
    ("203.0.113.7", "192.0.2.77:30100", 0, &[("192.0.2.77:30100/tcp", "allowed", Some(("wide", "fr-1")))]),
    ("203.0.113.200", "192.0.2.10:30100", 3, &[("192.0.2.10:30100/tcp", "no_match", Some(("wide", "")))]),
    ("198.51.100.9", "watched", 0, &[("192.0.2.10:30200/tcp", "would_deny", Some(("watched", "")))]),
    ("203.0.113.7", "192.0.2.10:20300", 3, &[("192.0.2.10:20300/tcp", "closed", None)]),
    ("203.0.113.7", "192.0.2.10:5432", 3, &[("192.0.2.10:5432/tcp", "closed", None)]),
    ("2001:db8:4::7", "[2001:db8:9::1]:5432/udp", 3, &[("[2001:db8:9::1]:5432/udp", "closed", None)]),
    ("198.51.100.9", "192.0.2.10:8080", 0, &[("192.0.2.10:8080/tcp", "not_protected", None)]),
];

#[test]
fn explains_every_destination_kind_with_and_without_the_agent() {
    let host = populated();
    let before = ["allowed", "no_match", "closed"].map(|reason| counted(&host, reason));
    check(&host);
    host.kill();
    check(&host);
    let after = ["allowed", "no_match", "closed"].map(|reason| counted(&host, reason));
    assert_eq!(after, before, "a question is no packet");
}

#[test]
fn invalid_question_exits_2_and_is_quoted() {
    let host = populated();
    for (source, target, quoted) in [
        ("203.0.113.300", "orders", &["\"203.0.113.300\""][..]),
        ("203.0.113.0/24", "orders", &["\"203.0.113.0/24\""]),
        ("203.0.113.7", "nonesuch", &["\"nonesuch\""]),
        ("203.0.113.7", "gone", &["\"gone\""]),
        ("203.0.113.7", "192.0.2.10", &["\"192.0.2.10\""]),
        ("203.0.113.7", "192.0.2.10:0", &["\"192.0.2.10:0\""]),
        ("203.0.113.7", "192.0.2.10:65536", &["\"192.0.2.10:65536\""]),
        ("203.0.113.7", "192.0.2.10:30092/sctp", &["\"192.0.2.10:30092/sctp\""]),
        ("203.0.113.7", "2001:db8:2::10:30092", &["\"2001:db8:2::10:30092\""]),
        ("2001:db8::7", "192.0.2.10:30092", &["2001:db8::7", "192.0.2.10:30092/tcp"]),
        ("2001:db8::7", "watched", &["2001:db8::7", "watched"]),
    ] {
        let answer = host.ask(&["explain", source, target]);
        assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""), "{source} {target}: {answer:?}");
        assert_eq!(answer.err.lines().count(), 1, "{answer:?}");
        for value in quoted {
            assert_eq!(answer.err.matches(value).count(), 1, "{value}: {answer:?}");
        }
    }
}

fn check(host: &TestHost) {
    for &(source, target, code, packets) in CASES {
        let words = host.ask(&["explain", source, target]);
        assert_eq!(words.code, Some(code), "{source} {target}: {words:?}");
        assert_eq!(words.err, "", "{source} {target}");
        let found = host.json(&["explain", source, target]);
        let found = found.as_array().unwrap();
        assert_eq!(found.len(), packets.len(), "{source} {target}: {found:?}");
        for (packet, &(endpoint, reason, rule)) in found.iter().zip(packets) {
            let verdict = if code == 0 { "pass" } else { "drop" };
            let seen = ["source", "endpoint", "verdict", "reason"].map(|field| &packet[field]);
            assert_eq!(seen, [source, endpoint, verdict, reason], "{source} {target}");
            assert_eq!(packet["database_id"], json!(rule.map(|(database, _)| database)), "{source} {target}");
            assert_eq!(packet["rule"]["id"], json!(rule.map(|(_, rule)| rule)), "{source} {target}");
            let line = format!("{source} → {endpoint}: {verdict} ({reason})");
            assert!(words.out.lines().any(|one| one == line), "{line}: {words:?}");
        }
    }
    let office = host.json(&["explain", "203.0.113.7", "orders"]);
    let rule = json!({"id": "fr-1", "type": "custom_range", "cidr": "203.0.113.0/24", "range_id": Value::Null,
        "label": "Office network"});
    assert_eq!(office[0]["rule"], rule);
    let managed = host.ask(&["explain", "198.51.100.7", "orders"]).out;
    assert!(
        ["fr-2", "198.51.100.7/32", "Example region", "man-example"].iter().all(|one| managed.contains(one))
    );
}

fn counted(host: &TestHost, reason: &str) -> Value {
    let status = host.json(&["status"]);
    let counters = status["counters"].as_array().unwrap();
    counters.iter().find(|counter| counter["reason"] == reason).unwrap()["packets"].clone()
}
