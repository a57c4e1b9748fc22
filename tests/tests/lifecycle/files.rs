//! Starts with missing, broken or truncated files.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use crate::stage::{ALLOWED, DATABASE, DENIED, PORT, RULE_FILE, SERVERS, Stage, UNPROTECTED, at, rule_file};

const GUARDED: u16 = 5_432;
const PATIENCE: Duration = Duration::from_millis(300);

#[test]
fn a_first_start_without_a_usable_file_closes_the_guarded_ports_and_nothing_else() {
    for (what, spoil) in SPOILED {
        let stage = Stage::new();
        spoil(&stage);
        let listeners: Vec<TcpListener> = {
            let _inside = stage.db.enter().unwrap();
            [PORT, GUARDED, UNPROTECTED].map(|port| TcpListener::bind(at("::", port)).unwrap()).into()
        };
        let is_open = |server, port| stage.clients.connect(at(server, port), PATIENCE).is_ok();
        assert!(is_open(SERVERS[0], GUARDED), "{what}: the control: without the agent the port is open");
        let agent = stage.start();
        for server in SERVERS {
            assert!(!is_open(server, PORT), "{what}: {server} port {PORT}");
            assert!(!is_open(server, GUARDED), "{what}: {server} port {GUARDED}");
            assert!(is_open(server, UNPROTECTED), "{what}: {server} port {UNPROTECTED}");
        }
        assert_eq!(stage.status()["databases"], serde_json::json!([]), "{what}");
        agent.terminate().unwrap();
        drop(listeners);
    }
}

#[test]
fn a_restart_without_a_usable_file_changes_nothing_in_the_kernel() {
    for (what, spoil) in SPOILED {
        let stage = Stage::new();
        let mut agent = stage.home.start().unwrap();
        agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
        let before = held(&stage);
        assert_eq!(before.1, [Some(0), Some(0), Some(3), Some(3)], "allowed pass, denied do not");
        agent.kill().unwrap();
        spoil(&stage);
        let agent = stage.start();
        assert_eq!(held(&stage), before, "{what}");
        let status = stage.status();
        assert_ne!(status["databases"][0]["state"], "applied", "{what}: {status}");
        agent.terminate().unwrap();
        assert_eq!(held(&stage), before, "{what}, the agent ended again");

        fs::create_dir_all(stage.dir().join("rules.d")).unwrap();
        stage.home.write_rules(RULE_FILE, &rule_file(2)).unwrap();
        let mut agent = stage.start();
        agent.wait_for_revision(&stage.home, DATABASE, 2).unwrap();
        assert_eq!(stage.home.status().unwrap().state(DATABASE), Some("applied"), "{what}: mended");
    }
}

type Spoil = fn(&Stage);

const SPOILED: [(&str, Spoil); 5] = [
    ("no file", |stage| stage.home.remove_rules(RULE_FILE).unwrap()),
    ("no directory", |stage| {
        fs::remove_dir_all(stage.dir().join("rules.d")).unwrap();
    }),
    ("a file cut off", |stage| {
        let text = rule_file(2);
        write(stage, &text.as_bytes()[..text.len() - 10]);
    }),
    ("a broken rule", |stage| {
        write(stage, rule_file(2).replace("192.0.2.16/28", "192.0.2.16/33").as_bytes())
    }),
    ("no text at all", |stage| write(stage, &[0xff; 64])),
];

fn write(stage: &Stage, bytes: &[u8]) {
    fs::write(stage.home.rule_file(RULE_FILE), bytes).unwrap();
}

/// Returns the kernel's state of the database, and the verdicts for allowed and denied sources.
fn held(stage: &Stage) -> ((serde_json::Value, serde_json::Value), [Option<i32>; 4]) {
    let status = stage.status();
    let database = &status["databases"][0];
    let stamp = ["revision", "generation", "applied_at", "digest", "endpoints"].map(|field| &database[field]);
    let codes = [ALLOWED[0], ALLOWED[1], DENIED[0], DENIED[1]].map(|source| stage.explain(source).code);
    ((stage.json(&["rules"]), serde_json::json!(stamp)), codes)
}
