//! `block`, `close`, `allow` and `overlay`: over the files, on a real wire, until they end.

use std::time::{Duration, Instant};

use serde_json::Value;

use firewall_tests::lab::{RuleFile, TestHost};

const ORDERS: &str = "orders";
const SERVER: &str = "192.0.2.10:5432";
/// A source that the rules allow, and one that they do not.
const OFFICE: &str = "192.0.2.20";
const STRANGER: &str = "192.0.2.66";

fn host() -> TestHost {
    let rules = RuleFile::new(ORDERS, 1).endpoint(SERVER).allow("192.0.2.16/28");
    let host = TestHost::builder()
        .clients(&["192.0.2.20/24", "192.0.2.66/24"])
        .listeners(&[SERVER])
        .rules(rules)
        .start();
    host.until_revision(ORDERS, 1);
    host
}

/// Runs a command that must succeed; returns the id of the entry.
fn add(host: &TestHost, arguments: &[&str]) -> String {
    let answer = host.ask(arguments);
    assert_eq!(answer.code, Some(0), "{arguments:?}: {answer:?}");
    let (verb, rest) = answer.out.split_once(':').unwrap();
    format!("{verb}:{}", rest.split(':').next().unwrap())
}

fn access(host: &TestHost) -> [bool; 2] {
    [OFFICE, STRANGER].map(|source| host.connects(source, SERVER))
}

fn entries(host: &TestHost) -> Vec<Value> {
    host.json(&["overlay"]).as_array().unwrap().clone()
}

#[test]
fn a_block_refuses_an_allowed_source_through_kill_and_reboot() {
    let host = host();
    assert_eq!(access(&host), [true, false], "control");
    let id = add(&host, &["block", OFFICE, ORDERS, "--for", "1h", "--note", "scan"]);
    assert_eq!(access(&host), [false, false]);
    let why = host.ask(&["explain", OFFICE, ORDERS]);
    assert_eq!(why.code, Some(3), "{why:?}");
    for text in ["drop (blocked)", &id, "local_block", "scan", "192.0.2.20/32"] {
        assert!(why.out.contains(text), "{text}: {why:?}");
    }
    host.until("the condition", |status| status["conditions"].to_string().contains(&id));
    assert!(entries(&host)[0]["packets"].as_u64().unwrap() > 0);
    host.push(&RuleFile::new(ORDERS, 2).endpoint(SERVER).allow("192.0.2.0/24"));
    host.until_revision(ORDERS, 2);
    assert_eq!(access(&host), [false, true], "a pushed revision leaves the overlay alone");
    host.kill();
    assert_eq!(access(&host), [false, true], "killed");
    host.start();
    assert_eq!(access(&host), [false, true], "restarted");
    host.stop();
    host.remove_pins();
    host.start();
    host.until_revision(ORDERS, 2);
    assert_eq!(access(&host), [false, true], "rebooted");
    assert_eq!(entries(&host)[0]["id"], id.as_str());
    add(&host, &["overlay", "drop", &id]);
    assert_eq!((access(&host), entries(&host).len()), ([true, true], 0));
}

#[test]
fn a_block_comes_before_a_closing_and_a_closing_before_a_permission() {
    let host = host();
    add(&host, &["allow", STRANGER, ORDERS, "--for", "1h"]);
    assert_eq!(access(&host), [true, true]);
    assert_eq!(host.reason(STRANGER, SERVER), "allowed");
    let close = add(&host, &["close", ORDERS, "--for", "1h"]);
    assert_eq!(access(&host), [false, false]);
    assert_eq!(host.reason(OFFICE, SERVER), "closed");
    let why = host.ask(&["explain", OFFICE, SERVER]).out;
    assert!(why.contains(&close) && !why.contains("left behind"), "{why}");
    add(&host, &["overlay", "drop", &close]);
    assert_eq!(access(&host), [true, true]);
    // Everywhere, by a network; without a daemon, too.
    host.stop();
    add(&host, &["block", "192.0.2.64/26", "--for", "1h"]);
    assert_eq!(access(&host), [true, false]);
    host.start();
    assert_eq!(access(&host), [true, false]);
    let allowed = host.ask(&["allow", STRANGER, ORDERS, "--for", "2h"]);
    assert!(allowed.out.contains("a block comes first"), "{allowed:?}");
}

#[test]
fn an_entry_ends_in_time() {
    let host = host();
    add(&host, &["block", OFFICE, "--for", "3s"]);
    let started = Instant::now();
    assert!(!host.connects(OFFICE, SERVER));
    host.eventually("the block ends", || host.connects(OFFICE, SERVER));
    let took = started.elapsed();
    assert!(took > Duration::from_secs(2), "{took:?}");
    host.eventually("the entry is gone", || entries(&host).is_empty());
    let kinds: Vec<String> = host
        .json(&["events", "--kind", "overlay"])
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["overlay entry added", "overlay entry expired"]);
}

#[test]
fn invalid_entries_are_refused_with_the_users_value() {
    let host = host();
    for (arguments, code, quoted) in [
        (&["block", "192.0.2.300", "--for", "1h"][..], 2, "\"192.0.2.300\""),
        (&["block", OFFICE, "nonesuch", "--for", "1h"], 2, "nonesuch"),
        (&["block", OFFICE], 2, "--for"),
        (&["block", OFFICE, "--for", "25h"], 1, "25h"),
        (&["allow", OFFICE, ORDERS, "--until", "2020-01-01T00:00:00Z"], 1, "2020-01-01T00:00:00Z"),
        (&["overlay", "drop", "block:12345"], 1, "block:12345"),
        (&["overlay", "drop", "orders"], 2, "\"orders\""),
    ] {
        let answer = host.ask(arguments);
        assert_eq!(answer.code, Some(code), "{arguments:?}: {answer:?}");
        assert!(answer.err.contains(quoted), "{arguments:?}: {answer:?}");
    }
    assert_eq!((access(&host), entries(&host).len()), ([true, false], 0));
}
