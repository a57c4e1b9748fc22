//! `explain`: the kernel's verdict in words.

use serde_json::{Value, json};

use firewall_tests::lab::{RuleFile, TestHost, database_of};

use crate::setup::{GONE, populated};

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
    ("203.0.113.7", "gone", 3, &[("192.0.2.10:20300/tcp", "closed", None)]),
    ("2001:db8::7", "watched", 3, &[("-", "no_endpoint", None)]),
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
        ("203.0.113.7", "192.0.2.10", &["\"192.0.2.10\""]),
        ("203.0.113.7", "192.0.2.10:0", &["\"192.0.2.10:0\""]),
        ("203.0.113.7", "192.0.2.10:65536", &["\"192.0.2.10:65536\""]),
        ("203.0.113.7", "192.0.2.10:30092/sctp", &["\"192.0.2.10:30092/sctp\""]),
        ("203.0.113.7", "2001:db8:2::10:30092", &["\"2001:db8:2::10:30092\""]),
        ("2001:db8::7", "192.0.2.10:30092", &["2001:db8::7", "192.0.2.10:30092/tcp"]),
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
            let decided =
                if reason == "no_endpoint" { Some(target) } else { rule.map(|(database, _)| database) };
            assert_eq!(packet["database_id"], json!(decided), "{source} {target}");
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

#[test]
fn lists_every_endpoint_that_would_admit_a_source() {
    let host = populated();
    let endpoints = |source: &str, code: i32| {
        assert_eq!(host.ask(&["explain", source]).code, Some(code), "{source}");
        let found = host.json(&["explain", source]);
        let found = found.as_array().unwrap().iter();
        found.map(|one| one["endpoint"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let everywhere = ["*:30100/tcp", "192.0.2.10:30092/tcp", "192.0.2.10:30200/tcp"];
    assert_eq!(endpoints("203.0.113.7", 0), everywhere);
    // A database in monitor mode admits every source.
    assert_eq!(endpoints("203.0.113.200", 0), everywhere[1..]);
    assert_eq!(endpoints("198.51.100.9", 0), everywhere[2..]);
    assert_eq!(endpoints("2001:db8:9::9", 3), [""; 0]);
    assert_eq!(host.ask(&["explain", "2001:db8:9::9"]).out, "no database admits 2001:db8:9::9\n");
}

/// A database with one friend, and a stranger that it refuses.
fn guarded() -> TestHost {
    let host = TestHost::builder()
        .clients(&["192.0.2.20/24", "192.0.2.66/24"])
        .listeners(&[ENDPOINT])
        .rules(file(1))
        .start();
    host.until_revision("orders", 1);
    host
}

const ENDPOINT: &str = "192.0.2.10:5432";

fn file(revision: u64) -> RuleFile {
    RuleFile::new("orders", revision).endpoint(ENDPOINT).allow("192.0.2.20/32")
}

fn explained(host: &TestHost, source: &str, target: &str) -> (Value, String) {
    let found = host.json(&["explain", source, target])[0].clone();
    assert_eq!(found["unchecked"], json!([]), "{found:#}");
    (found, host.ask(&["explain", source, target]).out)
}

#[test]
fn says_whether_the_newest_file_is_in_force() {
    let host = guarded();
    let (found, words) = explained(&host, "192.0.2.66", "orders");
    let of = |found: &Value, field: &str| found["file"][field].clone();
    assert_eq!((&found["in_force"]["revision"], of(&found, "state")), (&json!(1), json!("in_force")));
    assert!(words.contains("in force  revision 1, applied ") && !words.contains("  file "), "{words}");
    assert_eq!(found["refusals"], Value::Null);

    // A newer file with an error.
    host.push(&file(2).allow("192.0.2.300/24"));
    host.until_rejected("orders.yaml");
    let (found, words) = explained(&host, "192.0.2.66", "orders");
    assert_eq!((&found["in_force"]["revision"], of(&found, "state")), (&json!(1), json!("rejected")));
    assert!(found["file"]["errors"][0].as_str().unwrap().contains("192.0.2.300/24"), "{found:#}");
    assert!(words.contains("rejected") && words.contains("192.0.2.300/24"), "{words}");

    // A newer file that no agent has seen.
    host.kill();
    host.push(&file(3).allow("192.0.2.66/32"));
    let (found, words) = explained(&host, "192.0.2.66", "orders");
    assert_eq!((of(&found, "state"), of(&found, "revision")), (json!("not_in_force"), json!(3)));
    assert_eq!((of(&found, "seen_at"), &found["verdict"]), (Value::Null, &json!("drop")));
    assert!(words.contains("revision 3, changed ") && words.contains("not in force yet"), "{words}");

    // The agent sees it.
    host.start();
    host.until_revision("orders", 3);
    host.eventually("the agent reports the file", || {
        of(&explained(&host, "192.0.2.66", "orders").0, "seen_at").is_string()
    });

    std::fs::remove_file(host.dir().join("rules.d/orders.yaml")).unwrap();
    let (found, words) = explained(&host, "192.0.2.66", "orders");
    assert_eq!((of(&found, "state"), of(&found, "changed_at")), (json!("gone"), Value::Null), "{found:#}");
    assert!(words.contains("gone; its rules stay in force"), "{words}");
}

#[test]
fn shows_that_the_source_was_refused_before() {
    let host = guarded();
    assert!(!host.connects("192.0.2.66", ENDPOINT));
    assert!(host.connects("192.0.2.20", ENDPOINT));
    for target in ["orders", ENDPOINT] {
        let (found, words) = explained(&host, "192.0.2.66", target);
        assert!(found["refusals"]["packets"].as_u64().unwrap() >= 1, "{found:#}");
        assert!(words.contains("packets of this source, first "), "{words}");
        assert_eq!(explained(&host, "192.0.2.20", target).0["refusals"], Value::Null);
        assert_eq!(explained(&host, "192.0.2.67", target).0["refusals"], Value::Null);
    }
}

#[test]
fn names_the_origin_of_a_closed_destination() {
    let host = populated();
    let closed = |to: &str| {
        let (found, words) = explained(&host, "203.0.113.7", to);
        let fields = ["is_tombstone", "database_id", "presence", "revision"];
        let line = words.lines().find_map(|line| line.strip_prefix("  closed    ")).unwrap().to_owned();
        (json!(fields.map(|field| &found["closed"][field])), line)
    };
    let (left, words) = closed("192.0.2.10:20300");
    assert_eq!(left, json!([true, GONE, "removed", 2]));
    assert!(words.starts_with("left behind by database gone: removed by revision 2, closed "), "{words}");
    let nobody = (json!([false, null, null, null]), "guarded port, no file claims it".to_owned());
    assert_eq!(closed("192.0.2.10:5432"), nobody);

    // An endpoint that a revision drops, and a database that an operator forgets.
    host.push(&RuleFile::new("wide", 2).endpoint("30101"));
    host.until_applied("wide", 2);
    let (left, words) = closed("192.0.2.10:30100");
    assert_eq!(left, json!([true, "wide", "active", 2]));
    assert!(words.starts_with("left behind by database wide: not in its revision 2, closed "), "{words}");
    std::fs::remove_file(host.dir().join("rules.d/wide.yaml")).unwrap();
    assert_eq!(host.ask(&["forget", "wide"]).code, Some(0));
    host.until("wide has left", |status| database_of(status, "wide").is_null());
    let (left, words) = closed("192.0.2.10:30101");
    assert_eq!(left, json!([true, "wide", "forgotten", 2]));
    assert!(words.starts_with("left behind by database wide: forgotten, closed "), "{words}");
}

#[test]
fn unreadable_state_does_not_withhold_the_verdict() {
    let host = guarded();
    host.kill();
    std::fs::write(host.state_dir().join("state.redb"), "no store").unwrap();
    let found = &host.json(&["explain", "192.0.2.20", "orders"])[0];
    assert_eq!((&found["verdict"], &found["reason"]), (&json!("pass"), &json!("allowed")), "{found:#}");
    assert!(found["unchecked"][0].as_str().unwrap().contains("state.redb"), "{found:#}");
    let words = host.ask(&["explain", "192.0.2.20", "orders"]);
    assert!(words.code == Some(0) && words.out.contains("  unchecked "), "{words:?}");
}
