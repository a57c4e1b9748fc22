//! Hits of rules and of single prefixes: the sums agree, and all hits survive updates and restarts.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use firewall_tests::lab::{INTERFACE, RuleFile, TestHost, eventually, wall_clock};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::setup::{ORDERS, WIDE, populated, ranges};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const STRANGER: &str = "198.51.100.99";

/// `fr-3` is covered by `fr-1`, `fr-4` repeats `fr-1`, `fr-5` gets no hits.
fn file() -> RuleFile {
    RuleFile::new(ORDERS, 2)
        .field("name: Orders")
        .endpoint("192.0.2.10:30092")
        .rule("id: fr-1, type: custom_range, cidr: 203.0.113.0/24, label: Office network")
        .rule("id: fr-2, type: managed_range, range_id: man-example")
        .allow("203.0.113.128/25")
        .allow("203.0.113.0/24")
        .allow("192.0.2.128/25")
}

fn send(host: &TestHost, source: &str, count: usize) {
    let (wire, ethernet) = (host.wire(INTERFACE), host.frame(INTERFACE));
    let syn = ethernet.ipv4(source.parse().unwrap(), SERVER).tcp(40_000, 30_092).build();
    (0..count).for_each(|_| wire.send(&syn).unwrap());
}

fn rule<'a>(rows: &'a Value, id: &str) -> &'a Value {
    let mut rows = rows.as_array().unwrap().iter();
    rows.find(|row| row["rule"] == id).unwrap_or_else(|| panic!("{id}"))
}

/// Returns the rules that `rules` marks as unused when its clock is ahead by 25 hours.
fn unused_in_a_day(host: &TestHost) -> Vec<String> {
    let offset = host.dir().join("offset");
    fs::write(&offset, "+90000\n").unwrap();
    let front = format!("env {}", wall_clock(&offset).unwrap().join(" "));
    let answer = host.home.ask_by(&front, &["rules", ORDERS, "-o", "json"]).unwrap();
    let rows: Value = serde_json::from_str(&answer.out).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    let unused = rows.as_array().unwrap().iter().filter(|row| row["mark"] == "unused");
    unused.map(|row| row["rule"].as_str().unwrap().to_owned()).collect()
}

/// Returns prefixes and packets of a rule.
fn prefixes(row: &Value) -> Vec<Value> {
    let prefixes = row["prefixes"].as_array().unwrap().iter();
    prefixes.map(|one| json!([one["cidr"], one["packets"]])).collect()
}

#[test]
fn prefix_hits_survive_updates_add_up_and_unusual_rules_are_marked() {
    let host = populated();
    host.push_ranges(&ranges(2, &["198.51.100.7/32", "198.51.100.8/32", "198.51.100.16/28"]));
    host.push(&file());
    host.until_revision(ORDERS, 2);
    let three = |host: &TestHost| prefixes(rule(&host.json(&["rules", ORDERS]), "fr-2")).len() == 3;
    eventually(Duration::from_secs(10), "the ranges are in force", || three(&host).then_some(())).unwrap();

    for (source, count) in
        [("203.0.113.7", 2), ("198.51.100.7", 3), ("198.51.100.20", 4), ("203.0.113.200", 5), (STRANGER, 6)]
    {
        send(&host, source, count);
    }
    let packets = |host: &TestHost| {
        let rows = host.json(&["rules", ORDERS]);
        rows.as_array().unwrap().iter().map(|row| row["packets"].as_u64().unwrap()).sum::<u64>()
    };
    eventually(Duration::from_secs(10), "every packet is counted", || (packets(&host) == 20).then_some(()))
        .unwrap();

    let rows = host.json(&["rules", ORDERS]);
    let counted =
        [json!(["198.51.100.7/32", 3]), json!(["198.51.100.8/32", 0]), json!(["198.51.100.16/28", 4])];
    assert_eq!(prefixes(rule(&rows, "fr-2")), counted);
    assert_eq!((&rule(&rows, "fr-2")["packets"], &rule(&rows, "")["packets"]), (&json!(7), &json!(6)));
    assert!(rows.as_array().unwrap().iter().all(|row| row["counted_since"].is_string()), "{rows}");
    let marks = ["fr-1", "fr-2", "fr-3", "fr-4", "fr-5", ""]
        .map(|id| json!([id, rule(&rows, id)["mark"], rule(&rows, id)["covered_by"]]));
    let expected = json!([
        ["fr-1", null, null],
        ["fr-2", null, null],
        ["fr-3", "covered", "fr-1"],
        ["fr-4", "not_in_force", null],
        ["fr-5", null, null],
        ["", null, null],
    ]);
    assert_eq!(json!(marks), expected);
    assert_eq!(unused_in_a_day(&host), ["fr-5"]);
    let status = host.json(&["status"]);
    let total: u64 = status["counters"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| ["allowed", "no_match", "would_deny"].contains(&row["reason"].as_str().unwrap()))
        .map(|row| row["packets"].as_u64().unwrap())
        .sum();
    let lines: u64 =
        host.json(&["rules"]).as_array().unwrap().iter().map(|row| row["packets"].as_u64().unwrap()).sum();
    assert_eq!(lines, total, "rules and default lines together are all that databases decided");
    let range = &host.json(&["ranges", "man-example"])[0];
    assert_eq!((prefixes(range), &range["packets"]), (counted.to_vec(), &json!(7)));

    let table = host.ask(&["rules", ORDERS]).out;
    for words in [
        "orders fr-2 managed_range 3 prefixes 7",
        "198.51.100.16/28 4",
        "orders fr-3 custom_range 203.0.113.128/25 5",
        "covered by fr-1",
        "not in force",
        "everything else 6",
        "total 20",
    ] {
        let squeezed: Vec<String> =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(squeezed.iter().any(|line| line.contains(words)), "{words}: {table}");
    }
    assert!(host.ask(&["ranges", "man-example"]).out.contains("198.51.100.16/28  4"));

    // One prefix leaves, one is added; the agent is killed and starts again.
    host.push_ranges(&ranges(3, &["198.51.100.7/32", "198.51.100.16/28", "198.51.100.32/28"]));
    let changed = |host: &TestHost| {
        prefixes(rule(&host.json(&["rules", ORDERS]), "fr-2"))
            == [json!(["198.51.100.7/32", 3]), json!(["198.51.100.16/28", 4]), json!(["198.51.100.32/28", 0])]
    };
    eventually(Duration::from_secs(10), "the others keep their hits", || changed(&host).then_some(()))
        .unwrap();
    host.kill();
    host.start();
    host.until_revision(ORDERS, 2);
    assert!(changed(&host), "{}", host.json(&["rules", ORDERS]));
}

#[test]
fn the_most_hit_rules_and_prefixes_are_selected() {
    let host = populated();
    let many: Vec<String> = (0..25).map(|at| format!("198.51.100.{at}/32")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    host.push_ranges(&ranges(2, &many));
    let range = |host: &TestHost| host.json(&["ranges", "man-example"])[0].clone();
    host.eventually("the range is in force", || prefixes(&range(&host)).len() == many.len());
    for (source, count) in [("198.51.100.20", 3), ("198.51.100.7", 5), ("203.0.113.7", 1), (STRANGER, 2)] {
        send(&host, source, count);
    }
    host.eventually("every packet is counted", || range(&host)["packets"] == 8);

    let hit = [json!(["198.51.100.7/32", 5]), json!(["198.51.100.20/32", 3])];
    for arguments in [&["rules", ORDERS, "--hits"][..], &["rules", "--hits", "--top", "5"]] {
        let rows = host.json(arguments);
        let ids: Vec<&Value> = rows.as_array().unwrap().iter().map(|row| &row["rule"]).collect();
        assert_eq!(ids, ["fr-2", "", "fr-1"], "{arguments:?}: {rows}");
        assert_eq!(prefixes(&rows[0]), hit);
        assert_eq!(rows[0]["cidrs"].as_array().unwrap().len(), many.len());
    }
    let first = host.json(&["rules", "--top", "1"]);
    assert_eq!((first.as_array().unwrap().len(), prefixes(&first[0])), (1, hit[..1].to_vec()));
    assert_eq!(prefixes(&host.json(&["ranges", "--hits"])[0]), hit);
    assert_eq!(prefixes(&host.json(&["ranges", "man-example", "--top", "1"])[0]), hit[..1]);
    // The control: without hits there is none to show.
    assert_eq!(host.json(&["rules", WIDE, "--hits"]), json!([]));
    assert_eq!(prefixes(&range(&host)).len(), many.len());

    let summary = |arguments: &[&str]| {
        let shown = host.home.show(arguments, (100, 60), false).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        (shown.matches("198.51.100.").count(), shown.contains("left out: prefixes with fewer hits"))
    };
    for noun in [&["rules", ORDERS][..], &["ranges", "man-example"]] {
        assert_eq!(summary(noun), (10, true), "{noun:?}");
        assert_eq!(summary(&[noun, &["--top", "25"]].concat()), (25, false), "{noun:?}");
        assert_eq!(summary(&[noun, &["-o", "wide"]].concat()), (25, false), "{noun:?}");
        assert_eq!(host.ask(noun).out.matches("198.51.100.").count(), 25, "{noun:?}: a pipe");
    }
}

#[test]
fn hits_survive_a_reboot_and_a_used_rule_is_never_unused() {
    let host = populated();
    // A file of this hour: without synchronisation, the agent trusts the machine's clock by it.
    host.push(&file().generated_at(Timestamp::now().to_string()));
    host.until_revision(ORDERS, 2);
    send(&host, "203.0.113.7", 2);
    send(&host, "198.51.100.7", 3);
    let counted = || ["fr-1", "fr-2", "fr-5"].map(|id| host.hits(ORDERS, id));
    host.eventually("every packet is counted", || counted() == [2, 3, 0]);
    let facts = || {
        let rows = host.json(&["rules", ORDERS]);
        ["fr-1", "fr-2", "fr-5"].map(|id| {
            let row = rule(&rows, id);
            (row["packets"].clone(), row["last_hit"].is_string(), row["counted_since"].clone())
        })
    };
    let before = facts();
    assert_eq!(unused_in_a_day(&host), ["fr-5"]);
    for end in ["a reboot", "a restart", "a second reboot"] {
        host.stop();
        if end != "a restart" {
            host.remove_pins();
        }
        host.start();
        host.until_revision(ORDERS, 2);
        assert_eq!(facts(), before, "{end}");
        assert_eq!(unused_in_a_day(&host), ["fr-5"], "{end}");
    }
    let range = &host.json(&["ranges", "man-example"])[0];
    assert_eq!((&range["packets"], &range["counted_since"]), (&json!(3), &before[1].2));
    send(&host, "203.0.113.7", 1);
    host.eventually("the kernel's counter is added", || counted() == [3, 3, 0]);

    // Control: without the store, the used rule has no hit and a count of its own.
    host.stop();
    host.remove_pins();
    fs::remove_file(host.state_dir().join("state.redb")).unwrap();
    host.start();
    host.until_revision(ORDERS, 2);
    assert_eq!(counted(), [0, 0, 0]);
    assert!(unused_in_a_day(&host).contains(&"fr-1".to_owned()));
}
