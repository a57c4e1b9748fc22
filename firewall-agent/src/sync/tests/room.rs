//! Databases that do not fit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use fastrand::Rng;
use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;

use super::{ADDRESSES, PORTS, assert_confirmed, assert_desired, database, destination, run};
use crate::rules::{CounterKey, DatabaseId, Mode, RuleSet};
use crate::sync::FakeDataPlane;
use crate::sync::{
    Capacity, CounterKind, DatabaseSlot, Desired, DesiredDatabase, Destination, InForce, Live,
    PersistedState, Record, RulesInForce, Sizes, TableEntry, publish, restored,
};

#[test]
fn database_without_free_counters_blocks_no_other() {
    let mut rng = Rng::with_seed(5);
    let mut data_plane = FakeDataPlane::default();
    let mut many = database(&mut rng, 1, vec![destination(ADDRESSES[0], PORTS[0])]);
    for number in 0..40u8 {
        let key = CounterKey::Rule(format!("many-{number}").parse().unwrap());
        many.set.prefixes.v4.insert(Ipv4Addr::new(10, number, 0, 0).into(), key.clone());
        many.counters.insert(key, (CounterKind::Custom, String::new()));
    }
    // Gets its counter before the other takes all that are left.
    let mut first = database(&mut rng, 1, vec![destination(ADDRESSES[1], PORTS[0])]);
    let key = CounterKey::Rule("only".parse().unwrap());
    first.counters = BTreeMap::from([(key.clone(), (CounterKind::Custom, String::new()))]);
    first.set = RuleSet::default();
    first.set.prefixes.v4.insert(Ipv4Addr::new(10, 0, 0, 0).into(), key);
    let databases = [("a".parse().unwrap(), first.into()), ("b".parse().unwrap(), many.into())];
    let desired = Desired { databases: databases.into(), ..Desired::default() };
    let mut live = Live::default();
    let done = publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
    assert!(done.failed.is_empty() && done.uncounted.values().sum::<usize>() > 0, "{done:?}");
    assert_desired(&desired, &data_plane.live, "too many rules");
    // Every allowed source is allowed, counted on the default counter where no other is free.
    let default = data_plane.live.databases[&DatabaseSlot(1)].default_counter;
    assert!(
        data_plane.live.databases[&DatabaseSlot(1)].sources.v4.values().any(|counter| *counter == default)
    );
    // In force as far as it can be: compared once, still reported, nothing is written.
    let (before, uncounted) = (data_plane.live.clone(), done.uncounted);
    for _ in 0..3 {
        let done = publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        assert_eq!((&done.uncounted, &data_plane.live), (&uncounted, &before));
        assert_confirmed(&live, &data_plane);
        assert_eq!(live.confirmed.iter().count(), 2);
    }
    // The counter that the other database frees goes to one of the rules.
    let removed = BTreeSet::from(["a".parse().unwrap()]);
    let alone = Desired { databases: desired.databases.into_iter().skip(1).collect(), removed, ..desired };
    for _ in 0..2 {
        publish(&alone, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        assert_confirmed(&live, &data_plane);
    }
    let done = publish(&alone, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
    let sum = |uncounted: &BTreeMap<DatabaseId, usize>| uncounted.values().sum::<usize>();
    assert_eq!(sum(&done.uncounted), sum(&uncounted) - 1, "{:?} after {uncounted:?}", done.uncounted);
}

#[test]
fn lack_of_room_is_refused_before_any_write_and_revocations_fit() {
    let mut wanted = database(&mut Rng::with_seed(5), 1, vec![destination(ADDRESSES[0], PORTS[0])]);
    wanted.set = RuleSet::default();
    for number in 0..10u8 {
        let key = CounterKey::Rule(format!("r{number}").parse().unwrap());
        wanted.set.prefixes.v4.insert(Ipv4Addr::new(10, number, 0, 0).into(), key.clone());
        wanted.counters.insert(key, (CounterKind::Custom, String::new()));
    }
    let desired = |wanted: &DesiredDatabase, limits| Desired {
        databases: BTreeMap::from([("a".parse().unwrap(), Arc::new(wanted.clone()))]),
        limits,
        ..Desired::default()
    };
    let tight = [
        (Capacity { prefixes: 9, ..Capacity::default() }, "the limit is 9"),
        (Capacity { memory: 1024, ..Capacity::default() }, "about 1 KiB"),
        (Capacity { endpoints: 0, ..Capacity::default() }, "the limit is 0"),
    ];
    for (limits, figures) in tight {
        let mut data_plane = FakeDataPlane::default();
        let mut live = Live::default();
        let done = publish(&desired(&wanted, limits), &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        let message = format!("{:#}", done.failed.values().next().unwrap());
        assert!(message.contains(figures), "{message}");
        // Nothing of it is written except its closed endpoint: a file protects its destinations.
        assert!(data_plane.live.databases.is_empty() && data_plane.live.counters.is_empty(), "{message}");
        let claims: Vec<_> = data_plane.live.table.endpoints.values().collect();
        assert_eq!(claims, [&TableEntry::Tombstone], "{message}");
    }
    let mut data_plane = FakeDataPlane::default();
    assert!(run(&desired(&wanted, Capacity::default()), &mut data_plane));
    for (limits, _) in tight {
        wanted.set.prefixes.v4.pop_first();
        wanted.revision += 1;
        assert!(run(&desired(&wanted, limits), &mut data_plane), "{limits:?}");
        assert_eq!(
            data_plane.live.databases[&DatabaseSlot(0)].sources.v4.len(),
            wanted.set.prefixes.v4.len()
        );
    }
}

#[test]
fn revision_without_room_closes_only_dropped_destinations() {
    let mut wanted = database(&mut Rng::with_seed(5), 1, vec![destination(ADDRESSES[0], PORTS[0])]);
    wanted.mode = Mode::Enforce;
    wanted.set.prefixes.v4 =
        [(Ipv4Addr::new(10, 0, 0, 0).into(), CounterKey::Rule("r".parse().unwrap()))].into();
    wanted.set.prefixes.v6.clear();
    let named = |wanted: &DesiredDatabase| BTreeMap::from([("a".parse().unwrap(), Arc::new(wanted.clone()))]);
    let mut desired = Desired { databases: named(&wanted), monitor: true, ..Desired::default() };
    let (mut live, mut data_plane) = (Live::default(), FakeDataPlane::default());
    assert!(publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH).failed.is_empty());
    let before = data_plane.live.clone();
    // In monitor mode, with one more destination, and with more prefixes than fit.
    wanted.revision += 1;
    wanted.mode = Mode::Monitor;
    wanted.destinations.insert(destination(ADDRESSES[1], PORTS[0]));
    wanted.set.prefixes.v4.insert(Ipv4Addr::new(10, 1, 0, 0).into(), CounterKey::Rule("r".parse().unwrap()));
    desired.databases = named(&wanted);
    desired.limits = Capacity { prefixes: 1, ..Capacity::default() };
    let done = publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
    assert_eq!(done.failed.len(), 1, "{done:?}");
    let there = destination(ADDRESSES[0], PORTS[0]);
    let claim = &before.table.endpoints[&there];
    assert_eq!(data_plane.live.table.endpoints[&there], *claim, "neither closed nor in monitor mode");
    assert_eq!(data_plane.live.table.endpoints[&destination(ADDRESSES[1], PORTS[0])], TableEntry::Tombstone);
    assert_eq!(data_plane.live.databases, before.databases);
    // Next it drops the open destination.
    wanted.revision += 1;
    wanted.destinations.remove(&there);
    desired.databases = named(&wanted);
    let done = publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
    assert!(done.crowded.len() == 1 && !done.refused_writes, "{done:?}");
    assert_eq!(data_plane.live.table.endpoints[&there], TableEntry::Tombstone);
    assert_eq!(data_plane.live.databases, before.databases);
    wanted.destinations.insert(there);
    desired.databases = named(&wanted);
    desired.limits = Capacity::default();
    assert!(publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH).failed.is_empty());
    assert_ne!(data_plane.live.table.endpoints[&there], *claim, "in force once it fits");
}

#[test]
fn memory_reserved_for_one_database_is_unavailable_to_the_next() {
    let mut wanted = database(&mut Rng::with_seed(5), 1, Vec::new());
    wanted.set = RuleSet::default();
    for number in 0..10 {
        let net = IpNet::from(Ipv4Net::from(Ipv4Addr::new(10, number, 0, 0)));
        wanted.set.allow(net, &CounterKey::Rule("r".parse().unwrap()));
    }
    // Each alone fits, and so do two.
    let limits = Capacity { memory: 2 * 10 * 144 + 144, ..Capacity::default() };
    let databases = ["a", "b", "c"].map(|id| (id.parse().unwrap(), Arc::new(wanted.clone()))).into();
    let desired = Desired { databases, limits, ..Desired::default() };
    let done = publish(&desired, &mut Live::default(), &mut FakeDataPlane::default(), Timestamp::UNIX_EPOCH);
    assert_eq!((done.applied.len(), done.failed.len()), (2, 1), "{done:?}");
}

#[test]
fn expiry_and_revocation_need_no_room() {
    let net = |text: &str| text.parse().unwrap();
    let mut wanted = database(&mut Rng::with_seed(5), 1, vec![destination(ADDRESSES[0], PORTS[0])]);
    wanted.mode = Mode::Enforce;
    let allow = |wanted: &mut DesiredDatabase, nets: &[&str]| {
        wanted.set = RuleSet::default();
        for text in nets {
            wanted.set.allow(net(text), &CounterKey::Rule("r".parse().unwrap()));
        }
        wanted.counters =
            [(CounterKey::Rule("r".parse().unwrap()), (CounterKind::Custom, String::new()))].into();
    };
    let limits = Capacity { prefixes: 3, ..Capacity::default() };
    let named = |wanted: &DesiredDatabase| BTreeMap::from([("a".parse().unwrap(), Arc::new(wanted.clone()))]);
    let (mut live, mut data_plane) = (Live::default(), FakeDataPlane::default());
    allow(&mut wanted, &["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
    let mut desired = Desired { databases: named(&wanted), limits, ..Desired::default() };
    assert!(publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH).failed.is_empty());
    // The first remains only in parts, the second is revoked, the third stays; and more than fits is new.
    wanted.revision = 2;
    allow(&mut wanted, &["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "2001:db8::/32", "198.51.100.0/24"]);
    desired.databases = named(&wanted);
    let done = publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
    assert!(format!("{done:?}").contains("no room") && done.applied.is_empty(), "{done:?}");
    let in_force: Vec<String> =
        data_plane.live.databases[&DatabaseSlot(0)].sources.iter().map(|(net, _)| net.to_string()).collect();
    assert_eq!(in_force, ["10.1.0.0/16", "10.2.0.0/16", "2001:db8::/32"], "never more than there were");
    let stamp = data_plane.live.databases[&DatabaseSlot(0)].stamp.as_ref().unwrap();
    assert_eq!(
        (stamp.revision, data_plane.live.databases[&DatabaseSlot(0)].floor),
        (1, 1),
        "the new one is not in force"
    );
    let writes = data_plane.writes;
    publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
    assert_eq!(data_plane.writes, writes, "a repeated publish writes nothing");
    desired.limits = Capacity::default();
    assert!(publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH).failed.is_empty());
    assert_desired(&desired, &data_plane.live, "once there is room");
}

#[test]
fn tombstones_need_no_room() {
    let limits = Capacity { endpoints: 2, ..Capacity::default() };
    let (mut live, mut data_plane) = (Live::default(), FakeDataPlane::default());
    let mut closed = BTreeSet::new();
    let mut turn = |id: &str, here: &[_], removed: &[&str]| {
        closed.extend(here.iter().copied());
        let wanted = database(&mut Rng::with_seed(5), 1, here.to_vec());
        let desired = Desired {
            databases: if here.is_empty() {
                BTreeMap::new()
            } else {
                [(id.parse().unwrap(), wanted.into())].into()
            },
            removed: removed.iter().map(|id| id.parse().unwrap()).collect(),
            closed: super::claimed(closed.iter().copied()),
            limits,
            ..Desired::default()
        };
        let done = publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        let tombstones =
            live.table.endpoints.values().filter(|claim| **claim == TableEntry::Tombstone).count();
        (done.failed.values().next().map(|error| format!("{error:#}")), tombstones)
    };
    let mut left = 0;
    for (id, port) in [("a", PORTS[0]), ("b", PORTS[1]), ("c", PORTS[2])] {
        let both = [destination(ADDRESSES[0], port), destination(ADDRESSES[1], port)];
        assert_eq!(turn(id, &both, &[]), (None, left));
        left += 2;
        assert_eq!(turn("", &[], &[id]), (None, left));
    }
    // The control: open endpoints do take capacity.
    assert_eq!(
        turn("d", &[destination(ADDRESSES[0], PORTS[0]), destination(ADDRESSES[1], PORTS[0])], &[]),
        (None, 4)
    );
    let (refusal, tombstones) = turn("e", &[destination(ADDRESSES[0], PORTS[1])], &[]);
    assert!(refusal.is_some_and(|error| error.contains("use 2, the limit is 2")));
    assert_eq!(tombstones, 4);
}

/// A database with this number of prefixes, at one destination.
fn sized(number: u8, prefixes: u8) -> DesiredDatabase {
    let only = destination(Some(&format!("203.0.113.{number}")), PORTS[0]);
    let mut wanted = database(&mut Rng::with_seed(5), 1, vec![only]);
    (wanted.set, wanted.mode) = (RuleSet::default(), Mode::Enforce);
    for prefix in 0..prefixes {
        let net = IpNet::from(Ipv4Net::from(Ipv4Addr::new(10, number, prefix, 0)));
        wanted.set.allow(net, &CounterKey::Rule("r".parse().unwrap()));
    }
    wanted.counters = [(CounterKey::Rule("r".parse().unwrap()), (CounterKind::Custom, String::new()))].into();
    wanted
}

#[test]
fn room_goes_to_live_databases_first_then_to_those_before_reboot() {
    let mut rng = Rng::with_seed(19);
    let (mut crowded, mut protected) = (0, 0);
    for round in 0..2_000 {
        let ids = ["a", "b", "c", "d", "e", "f"].map(|id| id.parse::<DatabaseId>().unwrap());
        let mut databases: BTreeMap<_, _> = ids
            .iter()
            .zip(1..)
            .map(|(id, number)| (id.clone(), Arc::new(sized(number, rng.u8(0..6)))))
            .collect();
        let before: BTreeMap<_, _> = databases
            .iter()
            .filter(|_| rng.bool())
            .map(|(id, wanted)| (id.clone(), wanted.clone()))
            .collect();
        let prefixes: usize = before.values().map(|wanted| wanted.set.prefixes.len()).sum();
        // The state in force did fit, in every respect.
        let limits = Capacity {
            prefixes: prefixes + rng.usize(0..4),
            endpoints: before.len() + rng.usize(0..2),
            ..Capacity::default()
        };
        let sizes = Sizes {
            databases: u32::try_from(before.len() + rng.usize(0..2)).unwrap(),
            ..FakeDataPlane::default().sizes
        };
        let mut data_plane = FakeDataPlane::new(Live::default(), sizes);
        let mut live = Live::default();
        let rebooted = rng.bool();
        if !rebooted {
            let desired = Desired { databases: before.clone(), limits, ..Desired::default() };
            let done = publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
            assert!(done.failed.is_empty(), "round {round}: {done:?}");
            // Some grow: they may be refused, and lose nothing.
            for (id, wanted) in databases.iter_mut().filter(|(id, _)| before.contains_key(*id)) {
                if rng.bool() {
                    let number = id.as_str().as_bytes()[0] - b'a' + 1;
                    *wanted = DesiredDatabase { revision: 2, ..sized(number, 6) }.into();
                }
            }
        }
        let first = if rebooted { before.keys().cloned().collect() } else { BTreeSet::new() };
        let desired = Desired { databases: databases.clone(), first, limits, ..Desired::default() };
        let done = publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        assert_eq!(done.failed.keys().collect::<Vec<_>>(), done.crowded.iter().collect::<Vec<_>>());
        crowded += done.crowded.len();
        for (id, wanted) in &before {
            let same = databases[id] == *wanted;
            assert!(!same || !done.failed.contains_key(id), "round {round}: {id}: {done:?}");
            protected += usize::from(same && !done.failed.is_empty());
            let slot = live.slot(id).unwrap_or_else(|| panic!("round {round}: {id} is not there"));
            assert!(live.databases[&slot].sources.len() >= wanted.set.prefixes.len(), "round {round}: {id}");
            assert!(live.table.endpoints.values().any(|claim| claim.slot() == Some(slot)), "round {round}");
        }
        let sum: usize = live.databases.values().map(|database| database.sources.len()).sum();
        assert!(sum <= limits.prefixes, "round {round}: {sum} prefixes, {limits:?}");
    }
    assert!(crowded > 1_000 && protected > 1_000, "{crowded} had no room, {protected} stayed in force");
}

/// Restored over its open endpoints, a database would lose those that the older rules lack.
#[test]
fn only_a_database_without_an_open_endpoint_is_restored() {
    let id: DatabaseId = "a".parse().unwrap();
    let both = [ADDRESSES[0], ADDRESSES[1]].map(|address| destination(address, PORTS[0]));
    let with = |destinations: &[Destination], prefixes, revision| DesiredDatabase {
        is_closed: false,
        destinations: destinations.iter().copied().collect(),
        revision,
        ..sized(1, prefixes)
    };
    for open in [&both[..0], &both[..1]] {
        let (mut live, mut data_plane) = (Live::default(), FakeDataPlane::default());
        let first = with(open, 3, 1);
        let networks = first.set.prefixes.keys().collect();
        let desired = Desired { databases: [(id.clone(), first.into())].into(), ..Desired::default() };
        let done = publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        assert!(done.failed.is_empty(), "{done:?}");
        let rules = RulesInForce { networks, destinations: both.into() };
        let mut persisted = PersistedState::default();
        persisted.load(Record::InForce(id.clone(), InForce::with(1, rules)));
        let desired = Desired {
            databases: [(id.clone(), with(&both, 6, 2).into())].into(),
            limits: Capacity { prefixes: 3, ..Capacity::default() },
            ..Desired::default()
        };
        let before = restored(&desired, &persisted, &live, &data_plane);
        assert_eq!(before.is_some(), open.is_empty(), "{open:?}");
    }
}

#[test]
fn removed_database_makes_room_in_the_same_publish() {
    let limits = Capacity { prefixes: 3, endpoints: 1, ..Capacity::default() };
    let sizes = Sizes { databases: 1, ..FakeDataPlane::default().sizes };
    let (mut live, mut data_plane) = (Live::default(), FakeDataPlane::new(Live::default(), sizes));
    let only = |id: &str, number| [(id.parse().unwrap(), sized(number, 3).into())].into();
    let desired = Desired { databases: only("a", 1), limits, ..Desired::default() };
    assert!(publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH).failed.is_empty());
    let next = Desired { databases: only("b", 2), removed: ["a".parse().unwrap()].into(), ..desired };
    let done = publish(&next, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
    assert!(done.failed.is_empty() && done.removed.len() == 1 && done.applied.len() == 1, "{done:?}");
    assert_desired(&next, &data_plane.live, "after another database left");
}
