//! Upgrade and downgrade between two builds with different map layouts; each migrates the other's layout and updates its links.

use std::fs;
use std::time::Duration;

use firewall_common::names;
use firewall_tests::lab::{Agent, TestHost, agent_binary, database_of, next_layout_binary, rounds};
use serde_json::Value;

use crate::setup::{ALLOWED, DATABASE, RULE_FILE, hosts, rule_file};
use crate::traffic::Traffic;

const NEXT: &str = "v4";
const HALF: Duration = Duration::from_millis(300);

#[test]
fn layout_migrations_lose_and_leak_no_packet_and_preserve_counters() {
    let (this, next) = (agent_binary().unwrap(), next_layout_binary().unwrap());
    let host = hosts();
    let mut agent = host.start_agent();
    wait_for(&host, &mut agent, 1);
    let link = link_of(&host)["link_id"].clone();
    let traffic = Traffic::start(&host);
    let mut revision = 1;
    for round in 0..rounds(2, 100) {
        for (program, layout, gone) in [(&next, NEXT, names::LAYOUT), (&this, names::LAYOUT, NEXT)] {
            std::thread::sleep(HALF);
            let (before, hits) = (link_of(&host), host.hits(DATABASE, "fr-1"));
            if round % 2 == 0 {
                agent.terminate().unwrap();
            } else {
                agent.kill().unwrap();
            }
            host.home.install(program).unwrap();
            agent = host.start_agent();
            wait_for(&host, &mut agent, revision);
            let after = link_of(&host);
            assert_eq!(after["link_id"], link, "the link stays");
            assert_ne!(after["program_id"], before["program_id"], "its program is the other build's");
            assert!(host.home.pins().join(layout).exists() && !host.home.pins().join(gone).exists());
            assert!(host.hits(DATABASE, "fr-1") > hits, "hits went back, or stopped");
            revision += 1;
            host.push(&rule_file(revision));
            wait_for(&host, &mut agent, revision);
        }
    }
    let count = traffic.end_after(HALF);
    println!("{count:?}");
    assert!(count.rounds > 1_000, "{count:?}");
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
}

/// Without stored files the agent does not migrate a layout: it stays in force.
#[test]
fn layout_without_stored_files_stays_in_force() {
    let next = next_layout_binary().unwrap();
    let host = hosts();
    let mut agent = host.start_agent();
    wait_for(&host, &mut agent, 1);
    agent.terminate().unwrap();
    let before = link_of(&host);
    fs::remove_file(host.dir().join("state/state.redb")).unwrap();
    host.home.remove_rules(RULE_FILE).unwrap();
    host.home.install(&next).unwrap();
    let refused = host.ask(&["run"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("no accepted file is stored for orders"), "{refused:?}");
    // A change to the maps of this version decides about no packet.
    let block = host.ask(&["block", ALLOWED[0], "--for", "1h"]);
    assert!(block.code == Some(1) && block.err.contains("belongs to another version"), "{block:?}");
    host.home.install(&agent_binary().unwrap()).unwrap();
    assert_eq!(link_of(&host), before, "the link runs the same program");
    let count = Traffic::start(&host).end_after(HALF);
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
}

fn link_of(host: &TestHost) -> Value {
    let mut link = host.status()["interfaces"][0].clone();
    link["unprotected_ms"] = Value::Null;
    link
}

fn wait_for(host: &TestHost, agent: &mut Agent, revision: u64) {
    agent
        .wait_until("it is ready", || {
            host.home.status().is_ok_and(|status| {
                database_of(&status, DATABASE)["revision"] == revision && status["ready"] == true
            })
        })
        .unwrap();
}
