//! Upgrade and downgrade between two builds with different map layouts; each takes over the other's links.

use std::fs;
use std::time::Duration;

use firewall_common::names;
use firewall_tests::lab::{Agent, agent_binary, next_layout_binary, rounds};
use serde_json::Value;

use crate::stage::{DATABASE, RULE_FILE, Stage, rule_file};
use crate::traffic::Traffic;

const NEXT: &str = "v2";
const HALF: Duration = Duration::from_millis(300);

#[test]
fn upgrades_and_downgrades_lose_nothing_leak_nothing_and_count_on() {
    let (this, next) = (agent_binary().unwrap(), next_layout_binary().unwrap());
    let stage = Stage::new();
    let mut agent = stage.start();
    wait_for(&stage, &mut agent, 1);
    let link = link_of(&stage)["link_id"].clone();
    let traffic = Traffic::start(&stage);
    let mut revision = 1;
    for round in 0..rounds(2, 100) {
        for (program, layout, gone) in [(&next, NEXT, names::LAYOUT), (&this, names::LAYOUT, NEXT)] {
            std::thread::sleep(HALF);
            let (before, hits) = (link_of(&stage), stage.hits("fr-1"));
            if round % 2 == 0 {
                agent.terminate().unwrap();
            } else {
                agent.kill().unwrap();
            }
            stage.home.install(program).unwrap();
            agent = stage.start();
            wait_for(&stage, &mut agent, revision);
            let after = link_of(&stage);
            assert_eq!(after["link_id"], link, "the link is taken over");
            assert_ne!(after["program_id"], before["program_id"], "its program is the other build's");
            assert!(stage.home.pins().join(layout).exists() && !stage.home.pins().join(gone).exists());
            assert!(stage.hits("fr-1") > hits, "hits went back, or stand still");
            revision += 1;
            stage.home.write_rules(RULE_FILE, &rule_file(revision)).unwrap();
            wait_for(&stage, &mut agent, revision);
        }
    }
    let count = traffic.end_after(HALF);
    println!("{count:?}");
    assert!(count.rounds > 1_000, "{count:?}");
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
}

/// Without stored files the agent does not migrate a layout: it stays in force.
#[test]
fn a_layout_of_which_nothing_is_stored_is_left_in_force() {
    let next = next_layout_binary().unwrap();
    let stage = Stage::new();
    let mut agent = stage.start();
    wait_for(&stage, &mut agent, 1);
    agent.terminate().unwrap();
    let before = link_of(&stage);
    fs::remove_file(stage.dir().join("state/state.redb")).unwrap();
    stage.home.remove_rules(RULE_FILE).unwrap();
    stage.home.install(&next).unwrap();
    let refused = stage.home.ask(&["run"]).unwrap();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("no accepted file is stored for orders"), "{refused:?}");
    stage.home.install(&agent_binary().unwrap()).unwrap();
    assert_eq!(link_of(&stage), before, "the link runs the same program");
    let count = Traffic::start(&stage).end_after(HALF);
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
}

fn link_of(stage: &Stage) -> Value {
    let mut link = stage.status()["interfaces"][0].clone();
    link["unprotected_ms"] = Value::Null;
    link
}

fn wait_for(stage: &Stage, agent: &mut Agent, revision: u64) {
    agent
        .wait_until("it is ready", || {
            stage
                .home
                .status()
                .is_ok_and(|status| status.revision(DATABASE) == Some(revision) && status.0["ready"] == true)
        })
        .unwrap();
}
