//! `denied`: denied sources, with a running and a dead agent.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread::{sleep, spawn};
use std::time::Duration;

use firewall_agent::rules::{Limits, read_database};
use firewall_tests::lab::{INTERFACE, RuleFile, TestHost, User, eventually};
use firewall_tests::packets::{Tcp, flag};
use serde_json::{Value, json};

use crate::setup::{ORDERS, populated};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const STRANGERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(198, 51, 100, 9), Ipv4Addr::new(198, 51, 100, 10), Ipv4Addr::new(198, 18, 0, 1)];

/// Sends the given number of SYNs from each stranger to each port, slowly enough for the kernel to record each.
fn knock(host: &TestHost, ports: &[u16], counts: [usize; 3]) {
    let (wire, ethernet) = (host.wire(INTERFACE), host.frame(INTERFACE));
    for (stranger, count) in STRANGERS.into_iter().zip(counts) {
        for port in ports.iter().flat_map(|port| vec![*port; count]) {
            wire.send(&ethernet.clone().ipv4(stranger, SERVER).tcp(40_000, port).build()).unwrap();
            sleep(Duration::from_millis(2));
        }
    }
}

/// Returns the rows of the strangers, once all of these packets have arrived.
fn rows(host: &TestHost, arguments: &[&str], packets: u64) -> Vec<Value> {
    let found = || {
        let mut rows = host.json(arguments)["denied"].as_array().unwrap().clone();
        rows.retain(|row| row["source"].as_str().unwrap().starts_with("198."));
        rows
    };
    let all =
        |rows: &Vec<Value>| rows.iter().map(|row| row["packets"].as_u64().unwrap()).sum::<u64>() == packets;
    eventually(Duration::from_secs(10), "every packet is recorded", || Some(found()).filter(all))
        .unwrap_or_else(|_| panic!("{:?}", found()))
}

#[test]
fn denied_sources_are_aggregated_with_a_suggested_rule() {
    let host = populated();
    knock(&host, &[30_092, 5_432], [7, 5, 3]);
    for agent in ["running", "dead"] {
        if agent == "dead" {
            host.kill();
        }
        let all = rows(&host, &["denied"], 30);
        assert_eq!(all.len(), 6, "{agent}: {all:?}");
        let first = all.iter().find(|row| row["database_id"] == ORDERS).unwrap();
        let shown = ["source", "sources", "endpoint", "reason", "class", "packets", "suggestion"]
            .map(|field| first[field].clone());
        let expected = json!([
            "198.51.100.9",
            1,
            "192.0.2.10:30092/tcp",
            "no_match",
            "syn",
            7,
            "{id: allow-198-51-100-9-32, type: custom_range, cidr: 198.51.100.9/32}"
        ]);
        assert_eq!(json!(shown), expected, "{agent}");
        let closed = all.iter().find(|row| row["reason"] == "closed").unwrap();
        assert_eq!((&closed["database_id"], &closed["suggestion"]), (&Value::Null, &Value::Null), "{agent}");

        let orders = rows(&host, &["denied", ORDERS], 15);
        assert!(orders.iter().all(|row| row["database_id"] == ORDERS), "{agent}: {orders:?}");
        let by = rows(&host, &["denied", ORDERS, "--by", "24"], 15);
        let shown: Vec<_> =
            by.iter().map(|row| json!([row["source"], row["sources"], row["packets"]])).collect();
        assert_eq!(shown, [json!(["198.51.100.0/24", 2, 12]), json!(["198.18.0.0/24", 1, 3])], "{agent}");
        assert_eq!(rows(&host, &["denied", ORDERS, "--top", "1"], 7).len(), 1, "{agent}");

        let totals = &host.json(&["denied"])["totals"];
        assert_eq!((&totals["unrecorded"], &totals["evicted"]), (&json!(0), &json!(0)), "{agent}: {totals}");
        assert_eq!(totals["denied"], totals["recorded"], "{agent}: {totals}");

        let table = host.ask(&["denied", ORDERS]);
        assert_eq!((table.code, table.err.as_str()), (Some(0), ""), "{agent}");
        let row: Vec<&str> = table
            .out
            .lines()
            .find(|line| line.starts_with("198.51.100.9 "))
            .unwrap()
            .split_whitespace()
            .collect();
        let start = ["198.51.100.9", "1", "7", ORDERS, "192.0.2.10:30092/tcp", "no_match", "syn"];
        assert_eq!(row[..7], start, "{agent}: {}", table.out);
        assert!(
            table.out.contains("orders  - {id: allow-198-51-100-9-32, type: custom_range"),
            "{}",
            table.out
        );
        assert!(table.out.contains("unrecorded: 0, evicted: 0"), "{agent}: {}", table.out);

        let unknown = host.ask(&["denied", "nonesuch"]);
        assert_eq!((unknown.code, unknown.out.as_str()), (Some(2), ""), "{agent}: {unknown:?}");
    }
    knock(&host, &[30_092], [1, 1, 1]);
    assert_eq!(rows(&host, &["denied", ORDERS], 18).len(), 3, "recorded with the agent dead, too");
}

#[test]
fn a_client_has_one_row_unless_kinds_are_separate() {
    let host = populated();
    knock(&host, &[30_092], [3, 0, 0]);
    let established = Tcp::syn(40_000, 30_092).flags(flag::ACK);
    let packet = host.frame(INTERFACE).ipv4(STRANGERS[0], SERVER).carrying(established);
    host.wire(INTERFACE).send(&packet.build()).unwrap();
    let client = rows(&host, &["denied", ORDERS], 4);
    assert_eq!(client.len(), 1, "{client:?}");
    assert_eq!((&client[0]["reason"], &client[0]["class"]), (&json!("no_match"), &Value::Null));
    let kinds: Vec<Value> = client[0]["kinds"].as_array().unwrap().clone();
    let kinds: Vec<Value> = kinds.iter().map(|kind| json!([kind["class"], kind["packets"]])).collect();
    assert_eq!(kinds, [json!(["syn", 3]), json!(["tcp", 1])]);
    let split = rows(&host, &["denied", ORDERS, "--by-kind"], 4);
    let split: Vec<Value> = split.iter().map(|row| json!([row["class"], row["packets"]])).collect();
    assert_eq!(split, kinds);
    assert_eq!(rows(&host, &["denied", ORDERS, "--by-kind", "--since", "1h"], 4).len(), 2);
}

#[test]
fn refused_clients_are_remembered_over_restarts_and_reboots() {
    let host = populated();
    let since = ["denied", "--since", "1h"];
    knock(&host, &[30_092], [7, 5, 0]);
    let clients = |packets| {
        let rows = rows(&host, &since, packets);
        rows.iter().map(|row| json!([row["source"], row["packets"], row["database_id"]])).collect::<Vec<_>>()
    };
    let both = [json!(["198.51.100.9", 7, ORDERS]), json!(["198.51.100.10", 5, ORDERS])];
    assert_eq!(clients(12), both, "from the kernel's table");
    // The first agent dies before a reading, the second ends in order: no packet counts twice.
    host.kill();
    assert_eq!(clients(12), both, "without an agent");
    host.start();
    assert_eq!(clients(12), both, "after a restart");
    host.stop();
    host.remove_pins();
    assert_eq!(clients(12), both, "before the first agent of a boot");
    let report = host.json(&since);
    assert!(report["skipped"].to_string().contains("packets since the last summary"), "{report}");
    assert_eq!(report["totals"], Value::Null, "{report}");
    host.start();
    host.until_revision(ORDERS, 1);
    assert_eq!(rows(&host, &["denied"], 0), [Value::Null; 0], "the control: the kernel has forgotten them");
    assert_eq!(clients(12), both, "after a reboot");
    knock(&host, &[30_092], [1, 0, 0]);
    assert_eq!(clients(13), [json!(["198.51.100.9", 8, ORDERS]), both[1].clone()], "one row a client");
    let report = host.json(&since);
    assert_eq!((&report["skipped"], &report["left_out"]), (&json!([]), &json!(0)));
    assert!(report["remembers_since"].is_string() && report["since"].is_string(), "{report}");
    assert!(host.ask(&since).out.contains("remembers since "), "{:?}", host.ask(&since));
    assert_eq!(rows(&host, &["denied", "--since", "2100-01-01"], 0), [Value::Null; 0], "not yet seen");
    let unknown = host.ask(&["denied", "nonesuch", "--since", "1h"]);
    assert_eq!((unknown.code, unknown.out.as_str()), (Some(2), ""), "{unknown:?}");

    // A damaged file costs its hour, and nothing else.
    host.stop();
    let files = host.state_dir().join("denied");
    fs::write(files.join("2001-01-01T00.jsonl"), "{\"version\":1").unwrap();
    let report = host.json(&since);
    assert!(report["skipped"].to_string().contains("2001-01-01T00.jsonl"), "{report}");
    assert_eq!(clients(13).len(), 2);

    // Control: without the summaries, the clients are missing after a reboot.
    host.remove_pins();
    fs::remove_dir_all(files).unwrap();
    host.start();
    host.until_revision(ORDERS, 1);
    assert_eq!(clients(0), [Value::Null; 0]);
}

#[test]
fn suggested_rule_is_valid_in_a_rule_file() {
    let host = populated();
    knock(&host, &[30_092], [1, 1, 1]);
    for by in [&[][..], &["--by", "24"]] {
        for row in rows(&host, &[&["denied", ORDERS], by].concat(), 3) {
            let rule = row["suggestion"].as_str().unwrap();
            let rule = rule.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
            let text = RuleFile::new(ORDERS, 2).endpoint("30092").rule(rule).to_string();
            let limits = Limits { max_rules: 30, allow_monitor: false, node_name: Some("db".into()) };
            let read = read_database(text.as_bytes(), &limits);
            assert!(read.is_ok_and(|checked| checked.warnings.is_empty()), "{text}");
        }
    }
}

#[test]
fn follow_prints_new_denials() {
    let host = populated();
    knock(&host, &[30_092], [4, 0, 0]);
    rows(&host, &["denied"], 4);
    let mut command = host.home.command(User::Unprivileged, "", &["denied", "--follow", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, receiver) = channel();
    // The thread ends with the child.
    let listener =
        spawn(move || lines.map_while(Result::ok).for_each(|line| sender.send(line).unwrap_or_default()));
    // After its first poll, the command prints every new denial.
    let printed = eventually(Duration::from_secs(20), "a new denial is printed", || {
        knock(&host, &[30_092], [0, 6, 0]);
        receiver.recv_timeout(Duration::from_secs(2)).ok()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    listener.join().unwrap();
    let row: Value = serde_json::from_str(&printed.unwrap()).unwrap();
    assert_eq!(row["source"], "198.51.100.10", "what was refused before is not news: {row}");
    assert!(row["packets"].as_u64().unwrap() > 0, "{row}");
}
