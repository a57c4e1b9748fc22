//! Publishes with a failure at every write: random changes, interrupted at each write, with one write refused or all
//! later ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fastrand::Rng;
use jiff::Timestamp;

pub(crate) use self::fake_data_plane::{FakeDataPlane, Killed};
use self::verdict::{is_monitored, owner, passes};
use super::counters::Counters;
use super::model::{CounterId, CounterKind, DatabaseSlot, Destination, Guards, Live, Ports, TableEntry};
use super::unchanged::unchanged;
use super::{ClaimedDestinations, DataPlane, Desired, DesiredDatabase, LocalBlock, publish};
use crate::rules::{CounterKey, Mode, Protocol, RuleSet};

mod blocked;
mod closed;
pub(super) mod counted;
mod fake_data_plane;
mod prefixes;
mod repaired;
mod room;
mod scale;
mod sessions;
mod specified;
mod together;
mod verdict;

const SOURCES: [&str; 4] = ["192.0.2.1", "198.51.100.1", "2001:db8::1", "2001:db8:1::1"];
const ADDRESSES: [Option<&str>; 3] = [Some("203.0.113.1"), Some("203.0.113.2"), None];
const PORTS: [u16; 3] = [5432, 6432, 7432];
const DATABASES: [&str; 3] = ["a", "b", "c"];
/// The database of `PORTS[2]`, at every address in some files and at single ones in others.
const EVERYWHERE: &str = "c";

fn destination(address: Option<&str>, port: u16) -> Destination {
    Destination { address: address.map(|text| text.parse().unwrap()), port, protocol: Protocol::Tcp }
}

fn claimed(destinations: impl IntoIterator<Item = Destination>) -> Arc<ClaimedDestinations> {
    Arc::new(destinations.into_iter().collect())
}

/// Random files of up to three databases without common endpoints.
pub(super) fn random(rng: &mut Rng, revision: u64) -> Desired {
    let mut desired =
        Desired { guarded: Guards::from([PORTS[0]]), monitor: rng.u8(0..6) > 0, ..Desired::default() };
    desired.judges_sockets = rng.bool();
    if rng.bool() {
        let other = Ports::from([PORTS[1]]);
        let other = if rng.bool() { Guards::from(other) } else { Guards::new(Ports::new(), &other) };
        desired.guarded = desired.guarded.stricter(&other);
    }
    let mut free: Vec<Destination> = ADDRESSES[..2]
        .iter()
        .flat_map(|address| [PORTS[0], PORTS[1]].map(|port| destination(*address, port)))
        .collect();
    rng.shuffle(&mut free);
    for id in DATABASES {
        match rng.u8(0..8) {
            0 => {
                desired.removed.insert(id.parse().unwrap());
            }
            // Missing: its file is gone or refused.
            1 => {}
            _ => {
                let mut destinations = free.split_off(free.len() - rng.usize(0..=2).min(free.len()));
                if id == EVERYWHERE {
                    // Every address of a port, some, or none.
                    let some = ADDRESSES[..2].iter().map(|address| destination(*address, PORTS[2]));
                    match rng.u8(0..3) {
                        0 => destinations.push(destination(None, PORTS[2])),
                        _ => destinations.extend(some.filter(|_| rng.bool())),
                    }
                }
                let mut wanted = database(rng, revision, destinations);
                wanted.is_closed = rng.u8(0..8) == 0;
                if !desired.monitor {
                    wanted.mode = Mode::Enforce;
                }
                desired.databases.insert(id.parse().unwrap(), wanted.into());
            }
        }
    }
    desired.local_blocks = blocks(rng);
    desired
}

/// Blocks of some sources, everywhere or at one database, present or not.
fn blocks(rng: &mut Rng) -> Vec<LocalBlock> {
    let has_blocks = rng.u8(0..3) == 0;
    let sources = SOURCES.iter().filter(|_| has_blocks && rng.bool()).collect::<Vec<_>>();
    sources
        .into_iter()
        .enumerate()
        .map(|(at, source)| LocalBlock {
            id: format!("block:000{at}").parse().unwrap(),
            source: source.parse::<IpAddr>().unwrap().into(),
            database: rng.bool().then(|| DATABASES[rng.usize(..DATABASES.len())].parse().unwrap()),
            note: String::new(),
        })
        .collect()
}

fn database(rng: &mut Rng, revision: u64, destinations: Vec<Destination>) -> DesiredDatabase {
    let mut set = RuleSet::default();
    let mut counters = BTreeMap::new();
    for (at, source) in SOURCES.iter().enumerate().filter(|_| rng.bool()) {
        let key = CounterKey::Rule(format!("r{at}").parse().unwrap());
        match source.parse().unwrap() {
            IpAddr::V4(address) => set.prefixes.v4.insert(address.into(), key.clone()),
            IpAddr::V6(address) => set.prefixes.v6.insert(address.into(), key.clone()),
        };
        let kind = if at % 2 == 0 { CounterKind::Custom } else { CounterKind::Managed("egress".to_owned()) };
        counters.insert(key, (kind, String::new()));
    }
    let mode = if rng.u8(0..5) == 0 { Mode::Monitor } else { Mode::Enforce };
    DesiredDatabase {
        is_closed: false,
        name: String::new(),
        revision,
        mode,
        destinations: destinations.into_iter().collect(),
        set,
        counters,
    }
}

fn packets() -> Vec<(IpAddr, Destination)> {
    let destinations =
        ADDRESSES[..2].iter().flat_map(|address| PORTS.map(|port| destination(*address, port)));
    destinations
        .flat_map(|destination| SOURCES.map(|source| (source.parse().unwrap(), destination)))
        .collect()
}

/// Every state in between must agree with both states where they agree.
fn assert_safe(before: &Live, between: &[Live], after: &Live, what: &str) {
    for (source, destination) in packets() {
        let (old, new) = (passes(before, source, &destination), passes(after, source, &destination));
        let moved = owner(before, &destination) != owner(after, &destination);
        // A refused list does not keep monitor mode.
        let enforced = is_monitored(before, &destination) && !is_monitored(after, &destination);
        for (at, state) in between.iter().enumerate() {
            let now = passes(state, source, &destination);
            assert!(old || new || !now, "{what}: write {at} lets {source} in to {destination}");
            assert!(
                !old || !new || now || moved || enforced,
                "{what}: write {at} cuts {source} off from {destination}"
            );
        }
    }
}

fn run(desired: &Desired, data_plane: &mut FakeDataPlane) -> bool {
    let mut live = data_plane.live.clone();
    let done = publish(desired, &mut live, data_plane, Timestamp::UNIX_EPOCH);
    done.failed.is_empty() && done.errors.is_empty()
}

#[test]
fn every_publish_write_leaves_the_old_or_the_new_verdict() {
    let mut rng = Rng::with_seed(7);
    let mut data_plane = FakeDataPlane::default();
    for round in 1..=2_000 {
        let desired = random(&mut rng, round);
        let before = data_plane.live.clone();
        assert!(run(&desired, &mut data_plane), "round {round}");
        assert_safe(&before, &data_plane.history, &data_plane.live, &format!("round {round}"));
        assert_desired(&desired, &data_plane.live, &format!("round {round}"));
        data_plane = data_plane.recovered();
    }
}

#[test]
fn interrupted_publish_is_safe_and_completed_by_the_next() {
    let mut rng = Rng::with_seed(11);
    let mut data_plane = FakeDataPlane::default();
    let mut cuts = 0;
    for round in 1..=200 {
        let desired = random(&mut rng, round);
        let before = data_plane.live.clone();
        let mut whole = data_plane.clone();
        assert!(run(&desired, &mut whole));
        for failing in 0..whole.writes {
            for dead in [false, true] {
                let what = format!("round {round}, write {failing} refused, dead {dead}");
                let mut cut = FakeDataPlane { failing: Some(failing), dead, ..data_plane.clone() };
                assert!(!run(&desired, &mut cut), "{what}: no failure reported");
                assert_safe(&before, &cut.history, &whole.live, &what);
                let mut next = cut.recovered();
                let found = next.live.clone();
                assert!(run(&desired, &mut next), "{what}: not finished");
                assert_safe(&found, &next.history, &next.live, &what);
                assert_desired(&desired, &next.live, &what);
                cuts += 1;
            }
        }
        data_plane = whole.recovered();
    }
    assert!(cuts > 2_000, "only {cuts} publishes were cut off");
}

#[test]
fn mirror_retained_over_failures_converges_like_a_fresh_one() {
    let mut rng = Rng::with_seed(13);
    let mut data_plane = FakeDataPlane::default();
    let mut live = Live::default();
    // Earlier desired states return, as the same allocations: what was confirmed about them must not count any more.
    let mut earlier: Vec<Desired> = Vec::new();
    for round in 1..=2_000 {
        let desired = match earlier.len() {
            0..4 => random(&mut rng, round),
            4.. if rng.bool() => random(&mut rng, round),
            len @ 4.. => earlier.swap_remove(rng.usize(len - 4..len)),
        };
        data_plane = FakeDataPlane { failing: Some(rng.usize(0..12)), ..data_plane.recovered() };
        publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        assert_confirmed(&live, &data_plane);
        data_plane = data_plane.recovered();
        let done = publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        assert!(done.failed.is_empty() && done.errors.is_empty(), "round {round}: {done:?}");
        assert_confirmed(&live, &data_plane);
        assert_desired(&desired, &data_plane.live, &format!("round {round}"));
        earlier.push(desired);
    }
}

#[test]
fn opening_before_the_allow_list_is_detected() {
    let mut before = FakeDataPlane::default();
    let mut rng = Rng::with_seed(3);
    let closed = Desired { guarded: Guards::from(PORTS), ..Desired::default() };
    assert!(run(&closed, &mut before));
    let (first, rest) = (destination(ADDRESSES[0], PORTS[0]), BTreeSet::new());
    let mut after = before.clone().recovered();
    let wanted = DesiredDatabase { mode: Mode::Enforce, ..database(&mut rng, 1, vec![first]) };
    let desired = Desired {
        databases: BTreeMap::from([("a".parse().unwrap(), wanted.into())]),
        removed: rest,
        ..closed
    };
    assert!(run(&desired, &mut after));
    // The final table before the final allow list, and with a monitor: the wrong order.
    let mut wrong = before.live.clone();
    wrong.table = after.live.table.clone();
    wrong.claimed = after.live.claimed.clone();
    let watched = |to: &Destination| {
        (*to, TableEntry::Open { slot: DatabaseSlot(0), mode: Mode::Monitor, default_counter: CounterId(1) })
    };
    wrong.table.endpoints = wrong.table.endpoints.keys().map(watched).collect();
    let noticed = std::panic::catch_unwind(|| assert_safe(&before.live, &[wrong], &after.live, "control"));
    assert!(noticed.is_err());
}

#[test]
fn a_revocation_does_not_wait_for_another_databases_endpoints() {
    let mut data_plane = FakeDataPlane::default();
    let stays = destination(ADDRESSES[0], PORTS[0]);
    let mut wanted =
        DesiredDatabase { mode: Mode::Enforce, ..database(&mut Rng::with_seed(5), 1, vec![stays]) };
    let (key, source) = (CounterKey::Rule("r".parse().unwrap()), SOURCES[0].parse::<Ipv4Addr>().unwrap());
    wanted.set.prefixes.v4.insert(source.into(), key.clone());
    wanted.counters.insert(key, (CounterKind::Custom, String::new()));
    let other = database(&mut Rng::with_seed(6), 1, vec![destination(ADDRESSES[1], PORTS[0])]);
    let both = |revision, wanted: DesiredDatabase, destinations: BTreeSet<Destination>| Desired {
        databases: BTreeMap::from([
            ("a".parse().unwrap(), DesiredDatabase { revision, ..wanted }.into()),
            ("b".parse().unwrap(), DesiredDatabase { revision, destinations, ..other.clone() }.into()),
        ]),
        monitor: true,
        ..Desired::default()
    };
    assert!(run(&both(1, wanted.clone(), other.destinations.clone()), &mut data_plane));
    assert!(passes(&data_plane.live, source.into(), &stays));
    // Next b's endpoint leaves, which the kernel refuses, and a allows no source.
    let mut data_plane = FakeDataPlane { failing: Some(0), ..data_plane.recovered() };
    wanted.set = RuleSet::default();
    assert!(!run(&both(2, wanted, BTreeSet::new()), &mut data_plane));
    assert!(!passes(&data_plane.live, source.into(), &stays));
}

#[test]
fn database_leaves_monitor_mode_on_a_host_that_forbids_it() {
    let mut rng = Rng::with_seed(5);
    let mut data_plane = FakeDataPlane::default();
    let wanted = DesiredDatabase {
        mode: Mode::Monitor,
        ..database(&mut rng, 1, vec![destination(ADDRESSES[0], PORTS[0])])
    };
    let databases = BTreeMap::from([("a".parse().unwrap(), wanted.into())]);
    assert!(run(&Desired { databases, monitor: true, ..Desired::default() }, &mut data_plane));
    let stranger = "192.0.2.200".parse().unwrap();
    assert!(passes(&data_plane.live, stranger, &destination(ADDRESSES[0], PORTS[0])));
    // The file is refused next: no file is left for the database.
    assert!(run(&Desired::default(), &mut data_plane));
    assert!(!passes(&data_plane.live, stranger, &destination(ADDRESSES[0], PORTS[0])));
}

#[test]
fn managed_ranges_are_recovered_from_the_kernel_without_their_file() {
    let mut data_plane = FakeDataPlane::default();
    let (key, net) = (CounterKey::Rule("r".parse().unwrap()), "198.51.100.0/24".parse().unwrap());
    let mut wanted = database(&mut Rng::with_seed(5), 1, vec![destination(ADDRESSES[0], PORTS[0])]);
    (wanted.set, wanted.counters) = (RuleSet::default(), BTreeMap::new());
    wanted.set.prefixes.v4.insert(net, key.clone());
    wanted.counters.insert(key, (CounterKind::Managed("egress".to_owned()), String::new()));
    let databases = BTreeMap::from([("a".parse().unwrap(), wanted.into())]);
    assert!(run(&Desired { databases, ..Desired::default() }, &mut data_plane));
    let remembered = super::ranges_from_kernel(&data_plane.live);
    let cidrs: Vec<String> =
        remembered.ranges.values().flat_map(|range| &range.cidrs).map(ToString::to_string).collect();
    assert_eq!(cidrs, ["198.51.100.0/24"]);
    assert_eq!(remembered.ranges.keys().map(ToString::to_string).collect::<Vec<_>>(), ["egress"]);
}

/// Every confirmed database is in force exactly as it was found.
pub(crate) fn assert_confirmed(live: &Live, data_plane: &impl DataPlane) {
    let mut counters = Counters::new(live, data_plane);
    for (slot, desired, uncounted) in live.confirmed.iter() {
        assert_eq!(
            unchanged(slot, desired, &mut counters, live),
            Some(uncounted),
            "{slot}: confirmed, and not in force: {desired:?}"
        );
    }
}

/// The allow list and the endpoints of every desired database are live; a removed one has no open endpoint.
fn assert_desired(desired: &Desired, live: &Live, what: &str) {
    for (id, wanted) in &desired.databases {
        let slot = live.slot(id).unwrap_or_else(|| panic!("{what}: {id} is not live"));
        let database = &live.databases[&slot];
        assert_eq!(
            database.stamp.as_ref().map(|stamp| stamp.revision),
            Some(wanted.revision),
            "{what}: {id}"
        );
        assert!(database.sources.v4.keys().eq(wanted.set.prefixes.v4.keys()), "{what}: {id}");
        assert!(database.sources.v6.keys().eq(wanted.set.prefixes.v6.keys()), "{what}: {id}");
        let open: BTreeSet<Destination> = live
            .table
            .endpoints
            .keys()
            .filter(|destination| owner(live, destination) == Some(slot))
            .copied()
            .collect();
        let wanted = if wanted.is_closed { BTreeSet::new() } else { wanted.destinations.clone() };
        assert_eq!(open, wanted, "{what}: {id}");
    }
    for id in &desired.removed {
        assert!(live.slot(id).is_none(), "{what}: {id} is still there");
    }
    assert_eq!(live.guarded, desired.guarded, "{what}");
    for (slot, database) in &live.databases {
        for source in SOURCES.map(|source| source.parse().unwrap()) {
            let blocks = |block: &LocalBlock| {
                block.source.contains(&source) && block.database.as_ref().is_none_or(|id| *id == database.id)
            };
            let expected = desired.local_blocks.iter().any(blocks);
            assert_eq!(live.blocks.blocking(source, *slot).is_some(), expected, "{what}: {source}");
        }
    }
}
