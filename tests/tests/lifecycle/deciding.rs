//! Every object that affects verdicts, changed by another process: the running agent repairs it, and entries from
//! before a stop have no effect after the next start.

pub mod planted;

use std::fs;
use std::time::{Duration, Instant};

use firewall_common::{SourceFilter, names};
use firewall_tests::lab::{Agent, INTERFACE, TestHost, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use self::planted::{
    DatagramPath, forge_endpoints, forge_verdicts, generation, inner, inner_at, map, number, pin,
    publish_pass_all, replace_pin, set_generation,
};
use crate::raw::{BPF_XDP, Map, ROOM};
use crate::setup::{
    ALLOWED, DATABASE, DENIED, RULE_FILE, hosts, last_status, repairs, rule_file, wait_for_ready,
};

const ARRAY_OF_MAPS: u32 = 12;
/// `BPF_MAP_TYPE_SK_STORAGE`.
const SOCKET_STORAGE: u32 = 24;
const PATIENCE: Duration = Duration::from_secs(15);
const PACKET_LOGGER: u32 = names::PACKET_LOGGER_INDEX;
const RECORDER: u32 = names::RECORDER_INDEX;

/// The change, the kind of its repair, and the function that makes it.
type Change = (&'static str, &'static str, fn(&TestHost));

const CHANGES: [Change; 10] = [
    ("a recorder passes everything", "recorders", |host| publish_pass_all(host, RECORDER)),
    ("a recorder of the packet log passes everything", "recorders", |host| {
        publish_pass_all(host, PACKET_LOGGER)
    }),
    ("the recorder is removed", "recorders", |host| {
        map(host, names::RECORDERS).remove(&number(RECORDER)).unwrap();
    }),
    ("the generation is set back", "generation", |host| set_generation(host, 0)),
    ("the generation is suspended", "generation", |host| set_generation(host, generation(host) | 1)),
    ("another IPv6 list lets everyone in", "sources", |host| {
        let live = inner(host, "sources", "v6-0-");
        let list = Map::shaped_as(&live.shape().unwrap());
        list.insert(&[0; ROOM], &[0; ROOM]).unwrap();
        list.publish(&map(host, names::SOURCES_V6), 0).unwrap();
    }),
    ("another endpoint table", "endpoints", |host| {
        let table = Map::shaped_as(&inner(host, "endpoints", "table-").shape().unwrap());
        table.publish(&map(host, names::ENDPOINTS), 0).unwrap();
    }),
    ("an IPv6 source filter is cleared", "filters", |host| {
        let nothing = [0; size_of::<SourceFilter>()];
        map(host, names::PREFILTER_V6).insert(&number(0), &nothing).unwrap();
    }),
    ("the link's pin names another object", "link_pin", |host| {
        replace_pin(&Map::drop_all(BPF_XDP), &host.home.pins().join("links").join(INTERFACE));
    }),
    ("the attached program's pin names another", "pin", |host| {
        replace_pin(&Map::pass_all(), &pin(host, names::FIREWALL));
    }),
];

#[test]
fn each_change_of_a_verdict_object_is_repaired_and_counted() {
    let host = hosts();
    let mut agent = host.start_agent();
    let path = DatagramPath::new(&host);
    for (what, kind, change) in CHANGES {
        let took = expect_repair(&host, &mut agent, (what, kind), change);
        println!("{what}: repaired and reported after {} ms", took.as_millis());
        assert!(path.passes(ALLOWED[0]), "{what}: after");
        assert!(!path.passes(DENIED[0]), "{what}: after");
    }
}

#[test]
fn pin_of_another_map_is_repaired() {
    let host = hosts();
    let mut agent = host.start_agent();
    for name in names::MAPS {
        let before = map(&host, name).shape().unwrap();
        // Creating an array of maps requires an inner map, and a socket storage the types of key and value.
        let is_special = [ARRAY_OF_MAPS, SOCKET_STORAGE].contains(&before.kind);
        let other = || if is_special { Map::trie(1) } else { Map::shaped_as(&before) };
        let swap = |host: &TestHost| replace_pin(&other(), &pin(host, name));
        expect_repair(&host, &mut agent, (name, "pin"), swap);
        assert_eq!(map(&host, name).shape().unwrap().id, before.id, "{name}: the map that the program uses");
    }
}

/// Published maps cannot be edited in place: checking the slots' current maps is enough.
#[test]
fn published_maps_are_frozen_also_when_published_by_another_process() {
    let host = hosts();
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    for (dir, name) in [("sources", "v4-0-"), ("sources", "v6-0-"), ("endpoints", "table-")] {
        let refused = inner(&host, dir, name).insert(&[0; ROOM], &[0; ROOM]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM), "{dir}/{name}");
    }
    agent.terminate().unwrap();
    // The same table, not frozen, in place of the agent's.
    let (path, ours) = inner_at(&host, "endpoints", "table-");
    let table = Map::shaped_as(&ours.shape().unwrap());
    let mut keys = Vec::new();
    while let Ok(key) = ours.next_key(keys.last()) {
        table.insert(&key, &ours.look_up(&key).unwrap()).unwrap();
        keys.push(key);
    }
    assert!(keys.len() > 4, "endpoints and the address index: {}", keys.len());
    table.publish(&map(&host, names::ENDPOINTS), 0).unwrap();
    replace_pin(&table, &path);
    table.insert(&keys[0], &table.look_up(&keys[0]).unwrap()).expect("the control: it can be edited");
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    let refused = table.insert(&keys[0], &[0; ROOM]).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM), "the agent adopts the table and freezes it");
}

#[test]
fn planted_cache_entry_lasts_until_the_next_drift_check() {
    let host = hosts();
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    let path = DatagramPath::new(&host);
    for (what, forge) in [("verdicts", forge_verdicts as fn(&TestHost)), ("endpoints", forge_endpoints)] {
        assert!(!path.passes(DENIED[0]), "{what}: before");
        signal(&agent, Signal::SIGSTOP);
        forge(&host);
        assert!(path.passes(DENIED[0]), "{what}: the control: a forged entry decides without a drift check");
        signal(&agent, Signal::SIGCONT);
        eventually(PATIENCE, "the denied is refused again", || (!path.passes(DENIED[0])).then_some(()))
            .unwrap();
        assert!(path.passes(ALLOWED[0]), "{what}: after");
    }
}

/// Control of the repair: a foreign recorder affects verdicts.
#[test]
fn foreign_recorder_admits_denied_packets_until_repaired() {
    let host = hosts();
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    let path = DatagramPath::new(&host);
    assert!(!path.passes(DENIED[0]));
    signal(&agent, Signal::SIGSTOP);
    publish_pass_all(&host, RECORDER);
    assert!(path.passes(DENIED[0]), "the control");
    signal(&agent, Signal::SIGCONT);
    eventually(PATIENCE, "the denied is refused again", || (!path.passes(DENIED[0])).then_some(())).unwrap();
}

/// A verdict cached under a generation would become valid again with it: no generation is reused.
#[test]
fn lost_generation_pin_revives_no_cached_verdict() {
    let host = hosts();
    let mut agent = host.start_agent();
    wait_for_ready(&host, &mut agent, true);
    let path = DatagramPath::new(&host);
    let cached = eventually(PATIENCE, "a verdict is cached under a known number", || {
        let before = generation(&host);
        // An odd generation suspends the caches.
        (before.is_multiple_of(2) && path.passes(ALLOWED[0]) && generation(&host) == before).then_some(before)
    })
    .unwrap();
    // Revoked; no packet arrives until the next query, and the entry therefore stays cached.
    let revoked = rule_file(2).replace("192.0.2.16/28", "198.51.100.0/24");
    host.home.write_rules(RULE_FILE, &revoked).unwrap();
    agent.wait_for_revision(&host.home, DATABASE, 2).unwrap();
    agent.terminate().unwrap();
    let (verdicts, number) = (map(&host, names::VERDICTS), generation(&host));
    assert_ne!(number, cached);
    set_generation(&host, cached);
    assert!(path.passes(ALLOWED[0]), "the control: the old number brings the old verdict back");

    let mut seen = vec![0, cached, number];
    for lost in [names::GENERATION, names::VERDICTS, names::ENDPOINT_CACHE, names::GENERATION] {
        fs::remove_file(pin(&host, lost)).unwrap();
        let mut agent = host.start_agent();
        wait_for_ready(&host, &mut agent, true);
        assert!(!path.passes(ALLOWED[0]), "{lost} has lost its pin: the revoked source is refused");
        assert_ne!(map(&host, names::VERDICTS).shape().unwrap().id, verdicts.shape().unwrap().id);
        agent.terminate().unwrap();
        let number = generation(&host);
        assert_eq!(number % 2, 0, "nothing is suspended");
        let apart = seen.iter().map(|other| number.abs_diff(*other)).min().unwrap();
        assert!(apart > 1 << 20, "{number}: random, not near any of {seen:?}");
        seen.push(number);
    }
}

/// Objects other than caches may also lose their pins while no agent runs.
#[test]
fn start_with_a_lost_pin_leaks_no_packet() {
    for lost in [names::RECORDERS, names::CPU_STATE, names::PREFILTER_V4, names::PORTS] {
        let host = hosts();
        let mut agent = host.start_agent();
        wait_for_ready(&host, &mut agent, true);
        agent.terminate().unwrap();
        fs::remove_file(pin(&host, lost)).unwrap();
        let mut agent = host.start_agent();
        wait_for_ready(&host, &mut agent, true);
        let path = DatagramPath::new(&host);
        assert!(path.passes(ALLOWED[0]), "{lost}");
        assert!(!path.passes(DENIED[0]), "{lost}");
        assert!(
            last_status(&host)["repairs"].as_object().unwrap().values().all(|count| count == 0),
            "{lost}"
        );
    }
}

/// Makes a change and waits for its repair; returns the time that the repair took.
fn expect_repair(
    host: &TestHost,
    agent: &mut Agent,
    (what, kind): (&str, &str),
    change: impl Fn(&TestHost),
) -> Duration {
    wait_for_ready(host, agent, true);
    let before = repairs(host, kind);
    change(host);
    let changed = Instant::now();
    let repaired = agent.wait_until("it is repaired", || repairs(host, kind) > before);
    repaired.unwrap_or_else(|error| panic!("{what}: {error:#}: {:#}", last_status(host)));
    let took = changed.elapsed();
    assert_eq!(last_status(host)["ready"], false, "{what}");
    wait_for_ready(host, agent, true);
    assert_eq!(repairs(host, kind), before + 1, "{what}: one repair");
    took
}

fn signal(agent: &Agent, signal: Signal) {
    kill(Pid::from_raw(agent.pid().cast_signed()), signal).unwrap();
}
