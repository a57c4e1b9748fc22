//! Very many applies: interrupted by kills, and uninterrupted.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use firewall_tests::lab::{Agent, RuleFile, TestHost, process_status, rounds};

use crate::setup::{DATABASE, hosts, rule_file};
use crate::traffic::Traffic;

/// Longest time from the start of an agent until it is killed: it starts and applies repeatedly.
const LONGEST_LIFE: Duration = Duration::from_millis(600);
/// Pause between two pushes.
const PAUSE: Duration = Duration::from_millis(15);
const FLOW: Duration = Duration::from_millis(500);

#[test]
fn kills_during_applies_leak_and_lose_no_packet() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let host = hosts();
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    let traffic = Traffic::start(&host);
    let stop = AtomicBool::new(false);
    let home = &host.home;
    let (last, mut agent) = thread::scope(|scope| {
        let pusher = scope.spawn(|| {
            let mut revision = 1;
            while !stop.load(Ordering::Relaxed) {
                revision += 1;
                home.push(&changing(revision)).unwrap();
                thread::sleep(PAUSE);
            }
            revision
        });
        for _ in 0..rounds(12, 1_000) {
            agent.kill().unwrap();
            agent = host.home.start().unwrap();
            thread::sleep(LONGEST_LIFE.mul_f64(random.f64()));
        }
        stop.store(true, Ordering::Relaxed);
        (pusher.join().unwrap(), agent)
    });
    agent.wait_for_revision(&host.home, DATABASE, last).unwrap();
    let count = traffic.end_after(FLOW);
    println!("{count:?}, {last} revisions");
    assert!(last > 10, "{last} revisions");
    assert_eq!((count.leaked, count.lost), (0, 0), "{count:?}");
}

#[test]
fn applies_leak_no_kernel_objects() {
    let host = hosts();
    let mut agent = host.start_agent();
    agent.wait_for_revision(&host.home, DATABASE, 1).unwrap();
    let mut revision = 1;
    let mut apply = |number: usize| {
        for _ in 0..number {
            revision += 1;
            host.push(&changing(revision));
            agent.wait_until("it is in force", || reported_revision(&host) == Some(revision)).unwrap();
        }
        // The minimum over several samples excludes descriptors that are open only briefly.
        (0..10)
            .map(|_| {
                thread::sleep(PAUSE);
                ResourceUsage::of(&agent, &host)
            })
            .min_by_key(|usage| usage.descriptors)
            .unwrap()
    };
    // By now every one-time allocation has happened.
    let before = apply(50);
    let after = apply(rounds(250, 10_000));
    println!("{before:?} → {after:?}");
    assert_eq!((after.descriptors, after.maps, after.pins), (before.descriptors, before.maps, before.pins));
    assert!(after.memory_kib < before.memory_kib + 2048, "{before:?} → {after:?}");
}

/// Resources of the agent's process.
#[derive(Debug)]
struct ResourceUsage {
    descriptors: usize,
    maps: usize,
    pins: usize,
    memory_kib: u64,
}

impl ResourceUsage {
    fn of(agent: &Agent, host: &TestHost) -> Self {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap();
        let links: Vec<_> =
            descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect();
        let layout = host.home.pins().join(firewall_common::names::LAYOUT);
        let pins = |dir: &str| fs::read_dir(layout.join(dir)).unwrap().count();
        Self {
            descriptors: links.len(),
            maps: links.iter().filter(|link| link.to_string_lossy().contains("bpf-map")).count(),
            pins: pins("sources") + pins("endpoints"),
            memory_kib: process_status(agent.pid()).unwrap().vmrss.unwrap(),
        }
    }
}

/// Returns the host's rule file with one more source in every second revision.
fn changing(revision: u64) -> RuleFile {
    let file = rule_file(revision);
    if revision.is_multiple_of(2) { file.allow_as("fr-9", "198.51.100.0/24") } else { file }
}

/// Returns the revision in force from the daemon's last status.
fn reported_revision(host: &TestHost) -> Option<u64> {
    let text = fs::read_to_string(host.dir().join("state/status.json")).ok()?;
    let status: serde_json::Value = serde_json::from_str(&text).ok()?;
    status["databases"][0]["revision"].as_u64()
}
