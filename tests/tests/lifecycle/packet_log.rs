//! The packet-log build: swapping it in and out neither passes nor drops a packet wrongly.

use std::fs;
use std::time::{Duration, Instant};

use firewall_tests::lab::{Agent, TestHost, eventually};

use crate::setup::{ALLOWED, DENIED, hosts};
use crate::traffic::Traffic;

const HALF: Duration = Duration::from_millis(500);
/// The daemon's limit of messages per second, with a margin for partial seconds.
const PER_SECOND: usize = 50;

fn tag(host: &TestHost) -> String {
    host.json(&["status"])["interfaces"][0]["program_tag"].as_str().unwrap().to_owned()
}

fn messages(agent: &Agent) -> usize {
    agent.log().lines().filter(|line| line.contains("packet: ")).count()
}

#[test]
fn packet_log_is_temporary_and_the_swap_loses_and_leaks_no_packet() {
    let host = hosts();
    let mut agent = host.start_agent();
    let (normal, link) = (tag(&host), host.json(&["status"])["interfaces"][0]["link_id"].clone());
    assert!(!normal.is_empty());
    let traffic = Traffic::start(&host);
    std::thread::sleep(HALF);
    assert_eq!(messages(&agent), 0, "the normal program logs no packet");
    let started = Instant::now();
    let on = host.ask(&["packet-log", "on", "--for", "3s"]);
    assert_eq!((on.code, on.err.as_str()), (Some(0), ""), "{on:?}");
    let logging = tag(&host);
    assert_ne!(logging, normal, "another program runs");
    agent.wait_until("the normal program is back by itself", || tag(&host) == normal).unwrap();
    let lasted = started.elapsed();
    assert!(lasted >= Duration::from_secs(3), "{lasted:?}");
    std::thread::sleep(HALF);
    let logged = messages(&agent);
    let most = PER_SECOND * (lasted.as_secs() as usize + 3);
    assert!((10..=most).contains(&logged), "{logged} messages in {lasted:?}");
    std::thread::sleep(HALF);
    assert_eq!(messages(&agent), logged, "none comes once it is off");

    // On and off again with the commands, repeatedly.
    for _ in 0..3 {
        assert_eq!(host.ask(&["packet-log", "on"]).code, Some(0));
        assert_eq!(tag(&host), logging);
        assert_eq!(host.ask(&["packet-log", "off"]).code, Some(0));
        assert_eq!(tag(&host), normal);
    }
    assert_eq!(host.json(&["status"])["interfaces"][0]["link_id"], link, "the link is the same");
    let count = traffic.end_after(HALF);
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
    println!("{count:?}, {logged} messages in {lasted:?}");

    let log = agent.log();
    for (source, words) in [(ALLOWED[0], "reason=\"allowed\""), (DENIED[1], "reason=\"no_match\"")] {
        let logged = log.lines().any(|line| line.contains(&format!("\"{source}\"")) && line.contains(words));
        assert!(logged, "{source} {words}");
    }
    let denied = host.json(&["denied"]);
    let source = |row: &serde_json::Value| row["source"] == DENIED[0];
    assert!(denied["denied"].as_array().unwrap().iter().any(source), "{denied}");
}

#[test]
fn packet_log_is_configurable_and_needs_a_running_daemon() {
    let host = hosts();
    let path = host.home.config();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}packet_log: true\n")).unwrap();
    let agent = host.start_agent();
    let traffic = Traffic::start(&host);
    let logged =
        eventually(Duration::from_secs(10), "packets are logged", || (messages(&agent) > 0).then_some(()));
    logged.unwrap();
    let count = traffic.end_after(HALF);
    assert_eq!(count.lost, 0, "{count:?}");
    agent.kill().unwrap();
    let answer = host.ask(&["packet-log", "off"]);
    assert_eq!((answer.code, answer.out.as_str()), (Some(1), ""), "{answer:?}");
    assert!(answer.err.contains("no daemon listens"), "{answer:?}");
}
