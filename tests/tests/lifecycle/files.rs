//! Starts with missing, broken or truncated files.

use std::fs;
use std::time::Duration;

use firewall_tests::lab::{TestHost, UNPROTECTED};

use crate::setup::{ALLOWED, DATABASE, DENIED, PORT, RULE_FILE, SERVERS, hosts, rule_file};

const GUARDED: u16 = 5_432;
const PATIENCE: Duration = Duration::from_millis(300);

#[test]
fn first_start_without_a_usable_file_closes_only_guarded_ports() {
    for (what, spoil) in SPOILED {
        let host = hosts();
        spoil(&host);
        let listeners = [PORT, GUARDED, UNPROTECTED].map(|port| host.db.listen(("::", port)).unwrap());
        let is_open = |server, port| host.outside.connect((server, port), PATIENCE).is_ok();
        assert!(is_open(SERVERS[0], GUARDED), "{what}: the control: without the agent the port is open");
        let agent = host.start_agent();
        for server in SERVERS {
            assert!(!is_open(server, PORT), "{what}: {server} port {PORT}");
            assert!(!is_open(server, GUARDED), "{what}: {server} port {GUARDED}");
            assert!(is_open(server, UNPROTECTED), "{what}: {server} port {UNPROTECTED}");
        }
        assert_eq!(host.status()["databases"], serde_json::json!([]), "{what}");
        agent.terminate().unwrap();
        drop(listeners);
    }
}

#[test]
fn a_restart_without_a_usable_file_changes_nothing_in_the_kernel() {
    for (what, spoil) in SPOILED {
        let host = hosts();
        let mut agent = host.home.start().unwrap();
        agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
        let before = kernel_state(&host);
        assert_eq!(before.1, [Some(0), Some(0), Some(3), Some(3)], "allowed pass, denied do not");
        agent.kill().unwrap();
        spoil(&host);
        let agent = host.start_agent();
        assert_eq!(kernel_state(&host), before, "{what}");
        let status = host.status();
        assert_ne!(status["databases"][0]["state"], "applied", "{what}: {status}");
        agent.terminate().unwrap();
        assert_eq!(kernel_state(&host), before, "{what}, the agent ended again");

        fs::create_dir_all(host.dir().join("rules.d")).unwrap();
        host.push(&rule_file(2));
        let mut agent = host.start_agent();
        agent.wait_for_revision(&host.home, DATABASE, 2).unwrap();
        assert_eq!(host.home.database(DATABASE).unwrap()["state"], "applied", "{what}: mended");
    }
}

type Spoil = fn(&TestHost);

const SPOILED: [(&str, Spoil); 5] = [
    ("no file", |host| host.home.remove_rules(RULE_FILE).unwrap()),
    ("no directory", |host| {
        fs::remove_dir_all(host.dir().join("rules.d")).unwrap();
    }),
    ("a file cut off", |host| {
        let text = rule_file(2).to_string();
        write(host, &text.as_bytes()[..text.len() - 10]);
    }),
    ("a broken rule", |host| write(host, rule_file(2).replace("192.0.2.16/28", "192.0.2.16/33").as_bytes())),
    ("no text at all", |host| write(host, &[0xff; 64])),
];

fn write(host: &TestHost, bytes: &[u8]) {
    fs::write(host.home.rule_file(RULE_FILE), bytes).unwrap();
}

/// Returns the kernel's state of the database, and the verdicts for allowed and denied sources.
fn kernel_state(host: &TestHost) -> ((serde_json::Value, serde_json::Value), [Option<i32>; 4]) {
    let status = host.status();
    let database = &status["databases"][0];
    let stamp = ["revision", "generation", "applied_at", "digest", "endpoints"].map(|field| &database[field]);
    let codes = [ALLOWED[0], ALLOWED[1], DENIED[0], DENIED[1]]
        .map(|source| host.ask(&["explain", source, DATABASE]).code);
    ((host.json(&["rules"]), serde_json::json!(stamp)), codes)
}
