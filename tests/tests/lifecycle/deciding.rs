//! Everything that decides about a packet, changed by somebody else: the running agent repairs it, and what was decided
//! before it stopped decides nothing after it has started again.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firewall_common::packet::Flow;
use firewall_common::{
    CACHED_ENDPOINTS, CACHED_VERDICTS, CachedEndpoint, CachedVerdict, IPV4, MONITOR, NO_RULE, Reason,
    SourceFilter, names,
};
use firewall_tests::lab::{Agent, User, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::raw::{BPF_XDP, Map, ROOM};
use crate::stage::{ALLOWED, DENIED, INTERFACE, PORT, RULE_FILE, SERVERS, Stage, at, rule_file};

const UDP: u8 = 17;
const ARRAY_OF_MAPS: u32 = 12;
/// Time for a datagram on a veth to arrive.
const ARRIVAL: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(15);
const TELLER: u32 = names::TELLER_PLACE;
const RECORDER: u32 = names::RECORDER_PLACE;

/// The change, the kind that its repair is counted as, and what makes it.
type Change = (&'static str, &'static str, fn(&Stage));

const CHANGES: [Change; 10] = [
    ("a recorder passes everything", "recorders", |stage| seat_pass_all(stage, RECORDER)),
    ("a recorder of the packet log passes everything", "recorders", |stage| seat_pass_all(stage, TELLER)),
    ("the recorder is removed", "recorders", |stage| {
        map(stage, names::RECORDERS).remove(&number(RECORDER)).unwrap();
    }),
    ("the generation is set back", "generation", |stage| set_generation(stage, 0)),
    ("the generation is suspended", "generation", |stage| set_generation(stage, generation(stage) | 1)),
    ("another IPv6 list lets everyone in", "sources", |stage| {
        let live = inner(stage, "sources", "v6-0-");
        let list = Map::shaped_as(&live.shape().unwrap());
        list.insert(&[0; ROOM], &[0; ROOM]).unwrap();
        list.publish(&map(stage, names::SOURCES_V6), 0).unwrap();
    }),
    ("another endpoint table", "endpoints", |stage| {
        let table = Map::shaped_as(&inner(stage, "endpoints", "table-").shape().unwrap());
        table.publish(&map(stage, names::ENDPOINTS), 0).unwrap();
    }),
    ("an IPv6 source filter is cleared", "filters", |stage| {
        let nothing = [0; size_of::<SourceFilter>()];
        map(stage, names::NEAR_SOURCES_V6).insert_large(&number(0), &nothing).unwrap();
    }),
    ("the link's pin names another object", "link_pin", |stage| {
        replace_pin(&Map::drop_all(BPF_XDP), &stage.home.pins().join("links").join(INTERFACE));
    }),
    ("the attached program's pin names another", "pin", |stage| {
        replace_pin(&Map::pass_all(), &pin(stage, names::FIREWALL));
    }),
];

#[test]
fn each_change_of_what_decides_is_repaired_and_counted() {
    let stage = Stage::new();
    let mut agent = stage.start();
    let line = Line::new(&stage);
    for (what, kind, change) in CHANGES {
        expect_repair(&stage, &mut agent, what, kind, change);
        assert!(line.passes(ALLOWED[0]), "{what}: after");
        assert!(!line.passes(DENIED[0]), "{what}: after");
    }
}

#[test]
fn a_pin_that_names_another_map_is_put_right() {
    let stage = Stage::new();
    let mut agent = stage.start();
    for name in names::MAPS {
        let before = map(&stage, name).shape().unwrap();
        // An array of maps cannot be made without a map to put into it.
        let other = || if before.kind == ARRAY_OF_MAPS { Map::trie(1) } else { Map::shaped_as(&before) };
        let swap = |stage: &Stage| replace_pin(&other(), &pin(stage, name));
        expect_repair(&stage, &mut agent, name, "pin", swap);
        assert_eq!(map(&stage, name).shape().unwrap().id, before.id, "{name}: the map that the program uses");
    }
}

/// Nobody can edit in place what is published: it is enough to look at what the slots point at.
#[test]
fn published_maps_are_frozen_also_those_that_somebody_else_has_published() {
    let stage = Stage::new();
    let mut agent = stage.start();
    wait_for_ready(&stage, &mut agent);
    for (dir, name) in [("sources", "v4-0-"), ("sources", "v6-0-"), ("endpoints", "table-")] {
        let refused = inner(&stage, dir, name).insert(&[0; ROOM], &[0; ROOM]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM), "{dir}/{name}");
    }
    agent.terminate().unwrap();
    // The same table, not frozen, in the place of the agent's.
    let (path, ours) = inner_at(&stage, "endpoints", "table-");
    let table = Map::shaped_as(&ours.shape().unwrap());
    let mut keys = Vec::new();
    while let Ok(key) = keys.last().map_or_else(|| ours.first_key(), |key| ours.next_key(key)) {
        table.insert(&key, &ours.look_up(&key).unwrap()).unwrap();
        keys.push(key);
    }
    assert!(keys.len() > 4, "endpoints and member rows: {}", keys.len());
    table.publish(&map(&stage, names::ENDPOINTS), 0).unwrap();
    replace_pin(&table, &path);
    table.insert(&keys[0], &table.look_up(&keys[0]).unwrap()).expect("the control: it can be edited");
    let mut agent = stage.start();
    wait_for_ready(&stage, &mut agent);
    let refused = table.insert(&keys[0], &[0; ROOM]).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM), "the agent has taken it over, and frozen it");
}

#[test]
fn what_is_written_into_the_caches_decides_no_longer_than_until_the_next_check() {
    let stage = Stage::new();
    let mut agent = stage.start();
    wait_for_ready(&stage, &mut agent);
    let line = Line::new(&stage);
    for (what, forge) in [("verdicts", forge_verdicts as fn(&Stage)), ("endpoints", forge_endpoints)] {
        assert!(!line.passes(DENIED[0]), "{what}: before");
        signal(&agent, Signal::SIGSTOP);
        forge(&stage);
        assert!(line.passes(DENIED[0]), "{what}: the control: a forged entry decides while no agent looks");
        signal(&agent, Signal::SIGCONT);
        eventually(PATIENCE, "the denied is refused again", || (!line.passes(DENIED[0])).then_some(()))
            .unwrap();
        assert!(line.passes(ALLOWED[0]), "{what}: after");
    }
}

/// A foreign recorder really decides; the control of its repair.
#[test]
fn a_foreign_recorder_lets_the_denied_in_while_no_agent_looks() {
    let stage = Stage::new();
    let mut agent = stage.start();
    wait_for_ready(&stage, &mut agent);
    let line = Line::new(&stage);
    assert!(!line.passes(DENIED[0]));
    signal(&agent, Signal::SIGSTOP);
    seat_pass_all(&stage, RECORDER);
    assert!(line.passes(DENIED[0]), "the control");
    signal(&agent, Signal::SIGCONT);
    eventually(PATIENCE, "the denied is refused again", || (!line.passes(DENIED[0])).then_some(())).unwrap();
}

/// A verdict that was cached under a number comes back with the number: so no number does.
#[test]
fn a_cached_verdict_does_not_come_back_when_the_generation_has_lost_its_pin() {
    let stage = Stage::new();
    let mut agent = stage.start();
    wait_for_ready(&stage, &mut agent);
    let line = Line::new(&stage);
    let cached = eventually(PATIENCE, "a verdict is cached under a known number", || {
        let before = generation(&stage);
        (line.passes(ALLOWED[0]) && generation(&stage) == before).then_some(before)
    })
    .unwrap();
    // Revoked; not a packet comes until it is asked again, so that the entry stays.
    let revoked = rule_file(2).replace("192.0.2.16/28", "198.51.100.0/24");
    stage.home.write_rules(RULE_FILE, &revoked).unwrap();
    agent.wait_for_revision(&stage.home, crate::stage::DATABASE, 2).unwrap();
    agent.terminate().unwrap();
    let (verdicts, number) = (map(&stage, names::VERDICTS), generation(&stage));
    assert_ne!(number, cached);
    set_generation(&stage, cached);
    assert!(line.passes(ALLOWED[0]), "the control: the old number brings the old verdict back");

    let mut seen = vec![0, cached, number];
    for lost in [names::GENERATION, names::VERDICTS, names::NEAR_ENDPOINTS, names::GENERATION] {
        fs::remove_file(pin(&stage, lost)).unwrap();
        let mut agent = stage.start();
        wait_for_ready(&stage, &mut agent);
        assert!(!line.passes(ALLOWED[0]), "{lost} has lost its pin: the revoked source is refused");
        assert_ne!(map(&stage, names::VERDICTS).shape().unwrap().id, verdicts.shape().unwrap().id);
        agent.terminate().unwrap();
        let number = generation(&stage);
        assert_eq!(number % 2, 0, "nothing is suspended");
        let apart = seen.iter().map(|other| number.abs_diff(*other)).min().unwrap();
        assert!(apart > 1 << 20, "{number}: random, not near any of {seen:?}");
        seen.push(number);
    }
}

/// Also what is not a cache may lose its pin while no agent runs.
#[test]
fn a_start_over_a_lost_pin_leaks_nothing() {
    for lost in [names::RECORDERS, names::DENIAL_GATE, names::NEAR_SOURCES_V4, names::PORTS] {
        let stage = Stage::new();
        let mut agent = stage.start();
        wait_for_ready(&stage, &mut agent);
        agent.terminate().unwrap();
        fs::remove_file(pin(&stage, lost)).unwrap();
        let mut agent = stage.start();
        wait_for_ready(&stage, &mut agent);
        let line = Line::new(&stage);
        assert!(line.passes(ALLOWED[0]), "{lost}");
        assert!(!line.passes(DENIED[0]), "{lost}");
        assert!(said(&stage)["repairs"].as_object().unwrap().values().all(|count| count == 0), "{lost}");
    }
}

/// One datagram at a time from any source to the database.
struct Line<'a> {
    stage: &'a Stage,
    target: UdpSocket,
}

impl<'a> Line<'a> {
    fn new(stage: &'a Stage) -> Self {
        let _inside = stage.db.enter().unwrap();
        let target = UdpSocket::bind(at("::", PORT)).unwrap();
        target.set_read_timeout(Some(ARRIVAL)).unwrap();
        Self { stage, target }
    }

    fn passes(&self, source: &str) -> bool {
        let client = {
            let _inside = self.stage.clients.enter().unwrap();
            UdpSocket::bind(at(source, 0)).unwrap()
        };
        client.send_to(b"?", at(SERVERS[0], PORT)).unwrap();
        self.target.recv_from(&mut [0]).is_ok()
    }
}

fn expect_repair(stage: &Stage, agent: &mut Agent, what: &str, kind: &str, change: impl Fn(&Stage)) {
    wait_for_ready(stage, agent);
    let before = repairs(stage, kind);
    change(stage);
    let changed = Instant::now();
    let repaired = agent.wait_until("it is repaired", || repairs(stage, kind) > before);
    repaired.unwrap_or_else(|error| panic!("{what}: {error:#}: {:#}", said(stage)));
    println!("{what}: repaired and reported after {} ms", changed.elapsed().as_millis());
    assert_eq!(said(stage)["ready"], false, "{what}");
    wait_for_ready(stage, agent);
    assert_eq!(repairs(stage, kind), before + 1, "{what}: one repair");
}

fn seat_pass_all(stage: &Stage, place: u32) {
    Map::pass_all().publish(&map(stage, names::RECORDERS), place).unwrap();
}

/// Every entry of the cache says that the denied source is allowed.
fn forge_verdicts(stage: &Stage) {
    let word = |address: &str| u32::from_ne_bytes(address.parse::<std::net::Ipv4Addr>().unwrap().octets());
    let flow = Flow {
        source: [word(DENIED[0]), 0, 0, 0],
        destination: [word(SERVERS[0]), 0, 0, 0],
        port: PORT.to_be(),
        protocol: UDP,
        family: IPV4,
    };
    let answer = Reason::Allowed.answer(NO_RULE);
    let mut value = flow_bytes(&flow);
    value.extend(answer.to_ne_bytes());
    value.extend(generation(stage).to_ne_bytes());
    assert_eq!(value.len(), size_of::<CachedVerdict>());
    fill(&map(stage, names::VERDICTS), CACHED_VERDICTS, &value);
}

/// Every entry of the cache says that the database only watches.
fn forge_endpoints(stage: &Stage) {
    // What is known of the flow itself would be asked first.
    fill(&map(stage, names::VERDICTS), CACHED_VERDICTS, &[0; size_of::<CachedVerdict>()]);
    let address: std::net::Ipv4Addr = SERVERS[0].parse().unwrap();
    let mut value = address.octets().to_vec();
    value.extend([0; 12]);
    value.extend(PORT.to_be_bytes());
    value.extend([UDP, IPV4]);
    value.extend([0, MONITOR, NO_RULE].map(u32::to_ne_bytes).concat());
    value.extend(generation(stage).to_ne_bytes());
    assert_eq!(value.len(), size_of::<CachedEndpoint>());
    fill(&map(stage, names::NEAR_ENDPOINTS), CACHED_ENDPOINTS, &value);
}

fn flow_bytes(flow: &Flow) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        [flow.source, flow.destination].concat().into_iter().flat_map(u32::to_ne_bytes).collect();
    bytes.extend(flow.port.to_ne_bytes());
    bytes.extend([flow.protocol, flow.family]);
    bytes
}

/// Writes one value to every entry of a per-CPU array, for every CPU.
fn fill(map: &Map, entries: u32, value: &[u8]) {
    let possible = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
    let last = possible.trim().rsplit(['-', ',']).next().unwrap().parse::<usize>().unwrap();
    let values = value.repeat(last + 1);
    for entry in 0..entries {
        map.insert_large(&number(entry), &values).unwrap();
    }
}

fn generation(stage: &Stage) -> u64 {
    let value = map(stage, names::GENERATION).look_up(&number(0)).unwrap();
    u64::from_ne_bytes(value[..8].try_into().unwrap())
}

fn set_generation(stage: &Stage, number_now: u64) {
    let mut value = [0; ROOM];
    value[..8].copy_from_slice(&number_now.to_ne_bytes());
    map(stage, names::GENERATION).insert(&number(0), &value).unwrap();
}

/// Puts an object in the place of what is pinned, and lets the agent open it.
fn replace_pin(object: &Map, path: &Path) {
    fs::remove_file(path).unwrap();
    object.pin(path).unwrap();
    chown(path, Some(User::Unprivileged.id()), None).unwrap();
}

/// The published map whose pin starts with `name`.
fn inner(stage: &Stage, dir: &str, name: &str) -> Map {
    inner_at(stage, dir, name).1
}

fn inner_at(stage: &Stage, dir: &str, name: &str) -> (PathBuf, Map) {
    let entries = fs::read_dir(stage.home.pins().join(names::LAYOUT).join(dir)).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let is = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(name);
    let path = paths.find(is).unwrap_or_else(|| panic!("{dir}/{name}: not pinned"));
    let map = Map::pinned(&path);
    (path, map)
}

fn signal(agent: &Agent, signal: Signal) {
    kill(Pid::from_raw(agent.pid().cast_signed()), signal).unwrap();
}

fn repairs(stage: &Stage, kind: &str) -> u64 {
    said(stage)["repairs"][kind].as_u64().unwrap_or(0)
}

/// The status that the daemon wrote last.
fn said(stage: &Stage) -> Value {
    let path = stage.dir().join("state/status.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn wait_for_ready(stage: &Stage, agent: &mut Agent) {
    let waited = agent.wait_until("it is ready", || said(stage)["ready"] == true);
    waited.unwrap_or_else(|error| panic!("{:#}: {error:#}", said(stage)));
}

fn pin(stage: &Stage, name: &str) -> PathBuf {
    stage.home.pins().join(names::LAYOUT).join(name)
}

fn map(stage: &Stage, name: &str) -> Map {
    Map::pinned(&pin(stage, name))
}

fn number(slot: u32) -> [u8; ROOM] {
    let mut key = [0; ROOM];
    key[..4].copy_from_slice(&slot.to_ne_bytes());
    key
}
