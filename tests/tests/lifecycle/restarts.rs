//! The agent ends and restarts while packets flow: no leak, no loss.

use std::fs;
use std::time::Duration;

use firewall_tests::lab::{Agent, CAPABILITY_MASK, INTERFACE, TestHost, User, process_status};
use serde_json::Value;

use crate::setup::{DATABASE, RULE_FILE, hosts};
use crate::traffic::{Count, Traffic};

const ROUNDS: usize = 5;
/// Time with and without the agent in each round.
const HALF: Duration = Duration::from_millis(300);
/// Minimum number of datagrams from each source for a meaningful result.
const STREAM: u64 = 2_000;
/// Minimum number of rounds before and after a first start.
const SOME: u64 = 20;

#[test]
fn agent_restarts_and_kills_leak_and_lose_no_packet() {
    let host = hosts();
    let open = Traffic::start(&host).end_after(HALF);
    assert_eq!(open.leaked, 2 * open.rounds, "the control: without the agent every packet passes");
    assert_eq!(open.lost, 0, "without the agent nothing is lost");

    let mut agent = host.start_agent();
    assert_is_unprivileged(&agent);
    let link = link_of(&host);
    assert_eq!(host.status()["interfaces"][0]["mode"], "native");
    let traffic = Traffic::start(&host);
    for round in 0..2 * ROUNDS {
        std::thread::sleep(HALF);
        let (program, hits) = (program_of(&host), host.hits(DATABASE, "fr-1"));
        if round % 2 == 0 {
            let (status, _) = agent.terminate().unwrap();
            assert!(status.success(), "SIGTERM: {status}");
        } else {
            agent.kill().unwrap();
        }
        assert_eq!(host.status()["agent"]["running"], false);
        std::thread::sleep(HALF);
        agent = host.start_agent();
        assert_is_unprivileged(&agent);
        assert_eq!(host.status()["agent"]["running"], true);
        assert_eq!(link_of(&host), link, "the link is the same");
        assert_ne!(program_of(&host), program, "the program is the new agent's");
        assert!(host.hits(DATABASE, "fr-1") > hits, "hits went back, or stopped");
    }
    let count = traffic.end_after(HALF);
    println!("{count:?}");
    assert!(count.rounds >= STREAM, "only {count:?}");
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
}

/// The maps are complete before the program is attached: even its first verdict is correct.
#[test]
fn first_start_loses_no_allowed_packet_and_then_denies() {
    for _ in 0..ROUNDS {
        let count = first_start("");
        assert_eq!(count.lost, 0, "{count:?}");
    }
}

/// A destination stays closed until its claim is stored; a new host waits for that before it attaches.
#[test]
fn first_start_with_a_slow_disk_loses_no_allowed_packet() {
    let count = first_start(&slow_disk("200ms"));
    assert_eq!(count.lost, 0, "{count:?}");
}

/// Control: a hanging disk does not leave a new host open.
#[test]
fn first_start_with_a_hanging_disk_closes_the_host() {
    let count = first_start(&slow_disk("6s"));
    assert!(count.lost > 0, "{count:?}");
}

/// Starts the agent on a new host, through this wrapper command, while packets flow. Denied packets pass until it is in
/// force, and none does afterwards.
fn first_start(front: &str) -> Count {
    let host = hosts();
    let traffic = Traffic::start(&host);
    traffic.flow(HALF, SOME);
    let before = traffic.next_round();
    let mut agent = host.home.start_by(front, &[]).unwrap();
    let is_filtered = || host.home.status().is_ok_and(|status| status["interfaces"][0]["mode"] == "native");
    agent.wait_until("eth0 is filtered", is_filtered).unwrap();
    let in_force = traffic.next_round();
    traffic.flow(HALF, SOME);
    let count = traffic.end_after(Duration::ZERO);
    let long = count.rounds > in_force + SOME / 2 && in_force > before && before > SOME / 2;
    assert!(long, "from {before} to {in_force}: {count:?}");
    assert!(count.last_leak >= Some(before - 2), "without the agent every packet passes: {count:?}");
    assert!(count.last_leak < Some(in_force), "in force from round {in_force} on: {count:?}");
    count
}

/// Returns a wrapper command that delays every write to the disk.
fn slow_disk(delay: &str) -> String {
    format!(
        "strace -D -f -qq -o /dev/null -e trace=fsync,fdatasync -e inject=fsync,fdatasync:delay_enter={delay}"
    )
}

/// Control: the pin of the link preserves the filter.
#[test]
fn unpinned_link_dies_with_the_agent_and_leaves_the_host_open() {
    let host = hosts();
    let agent = host.start_agent();
    let link = link_of(&host);
    assert_eq!(Traffic::start(&host).end_after(HALF).leaked, 0);
    fs::remove_file(host.home.pins().join("links").join(INTERFACE)).unwrap();
    agent.kill().unwrap();
    let bare = Traffic::start(&host).end_after(HALF);
    assert!(bare.leaked > 0, "{bare:?}");

    let _agent = host.start_agent();
    assert_ne!(link_of(&host), link);
    let closed = Traffic::start(&host).end_after(HALF);
    assert_eq!((closed.leaked, closed.lost), (0, 0), "{closed:?}");
}

/// Control: losses are counted.
#[test]
fn every_packet_is_lost_without_a_rule_file() {
    let host = hosts();
    host.home.remove_rules(RULE_FILE).unwrap();
    let _agent = host.start_agent();
    let count = Traffic::start(&host).end_after(HALF);
    assert_eq!((count.leaked, count.lost), (0, 2 * count.rounds), "{count:?}");
    assert!(count.rounds > 0, "nothing was sent");
}

fn assert_is_unprivileged(agent: &Agent) {
    let status = process_status(agent.pid()).unwrap();
    let expected = (User::Unprivileged.id(), CAPABILITY_MASK, Some(1));
    assert_eq!((status.ruid, status.capeff, status.nonewprivs), expected);
}

fn link_of(host: &TestHost) -> Value {
    host.status()["interfaces"][0]["link_id"].clone()
}

fn program_of(host: &TestHost) -> Value {
    host.status()["interfaces"][0]["program_id"].clone()
}
