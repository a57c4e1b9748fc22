//! Counters for the single prefixes of managed ranges.

use std::collections::BTreeMap;

use fastrand::Rng;
use ipnet::Ipv4Net;

use super::{ADDRESSES, PORTS, database, destination, run};
use crate::rules::{CounterKey, RuleSet};
use crate::sync::FakeDataPlane;
use crate::sync::model::CounterKind;
use crate::sync::{CounterId, DatabaseSlot, Desired, DesiredDatabase, ranges_from_kernel};

fn net(number: u8) -> Ipv4Net {
    Ipv4Net::new_assert([100, 64, number, 0].into(), 24)
}

/// A database with one rule, which names a range of these prefixes.
fn wanted(revision: u64, numbers: impl IntoIterator<Item = u8>) -> Desired {
    let key = CounterKey::Rule("region".parse().unwrap());
    let empty = database(&mut Rng::with_seed(1), revision, vec![destination(ADDRESSES[0], PORTS[0])]);
    let mut wanted = DesiredDatabase { set: Default::default(), counters: BTreeMap::new(), ..empty };
    wanted.set.prefixes.v4.extend(numbers.into_iter().map(|number| (net(number), key.clone())));
    wanted.counters.insert(key, (CounterKind::Managed("egress".to_owned()), String::new()));
    Desired { databases: BTreeMap::from([("a".parse().unwrap(), wanted.into())]), ..Desired::default() }
}

/// The counter of each prefix.
fn counters_of(data_plane: &FakeDataPlane) -> BTreeMap<Ipv4Net, CounterId> {
    data_plane.live.databases[&DatabaseSlot(0)].sources.v4.clone()
}

#[test]
fn each_prefix_has_a_counter_that_survives_updates() {
    let mut data_plane = FakeDataPlane::default();
    assert!(run(&wanted(1, [1, 2, 3]), &mut data_plane));
    let first = counters_of(&data_plane);
    for slot in first.values() {
        assert!(data_plane.sizes.prefix_counters().any(|reserved| reserved == *slot), "{first:?}");
        assert_eq!(data_plane.live.counters[slot].kind, CounterKind::Prefix("egress".to_owned()));
        assert_eq!(first.values().filter(|other| *other == slot).count(), 1, "{first:?}");
    }
    assert!(run(&wanted(2, [2, 3, 4]), &mut data_plane));
    let second = counters_of(&data_plane);
    assert_eq!((second[&net(2)], second[&net(3)]), (first[&net(2)], first[&net(3)]));
    assert_ne!(second[&net(4)], first[&net(1)], "a counter in use is not shared");
    assert!(!data_plane.live.counters.contains_key(&first[&net(1)]), "an unused counter is freed");
    assert!(run(&wanted(3, [2, 3, 4]), &mut data_plane));
    assert_eq!(counters_of(&data_plane), second);
}

#[test]
fn prefixes_without_a_counter_stay_on_their_rule_counter() {
    let mut data_plane = FakeDataPlane::default();
    let room = u8::try_from(data_plane.sizes.prefix_counters().len()).unwrap();
    assert!(run(&wanted(1, 0..room + 4), &mut data_plane), "never refused for lack of a counter");
    let first = counters_of(&data_plane);
    let own = data_plane
        .live
        .counters
        .iter()
        .find(|(_, counter)| counter.kind == CounterKind::Managed("egress".to_owned()));
    let own = *own.unwrap().0;
    assert_eq!(first.values().filter(|slot| **slot == own).count(), 4);
    // One leaves and frees a counter: prefixes counted on the rule stay there, a new one has its own counter.
    assert!(run(&wanted(2, 1..room + 4), &mut data_plane));
    assert!(run(&wanted(3, 1..room + 5), &mut data_plane));
    let third = counters_of(&data_plane);
    assert!((1..room + 4).all(|number| third[&net(number)] == first[&net(number)]), "{third:?}");
    assert_ne!(third[&net(room + 4)], own);
}

#[test]
fn custom_prefixes_are_never_recovered_as_managed_range() {
    let wanted = |revision, kind, net: &str| {
        let mut wanted =
            database(&mut Rng::with_seed(5), revision, vec![destination(ADDRESSES[0], PORTS[0])]);
        let key = CounterKey::Rule("r".parse().unwrap());
        (wanted.set, wanted.counters) = (RuleSet::default(), BTreeMap::new());
        wanted.set.prefixes.v4.insert(net.parse().unwrap(), key.clone());
        wanted.counters.insert(key, (kind, String::new()));
        Desired { databases: BTreeMap::from([("a".parse().unwrap(), wanted.into())]), ..Desired::default() }
    };
    let mut before = FakeDataPlane::default();
    assert!(run(&wanted(1, CounterKind::Custom, "198.51.100.0/24"), &mut before));
    for range in ["egress", "other"] {
        let after = wanted(2, CounterKind::Managed(range.to_owned()), "203.0.113.0/24");
        for failing in 0.. {
            let mut data_plane =
                FakeDataPlane { failing: Some(failing), dead: true, ..before.clone().recovered() };
            let done = run(&after, &mut data_plane);
            let remembered = ranges_from_kernel(&data_plane.live).ranges;
            let cidrs = remembered.iter().find(|(id, _)| id.as_str() == range).map(|(_, range)| &range.cidrs);
            let foreign =
                cidrs.is_some_and(|cidrs| cidrs.iter().any(|net| net.to_string() != "203.0.113.0/24"));
            assert!(!foreign, "{range}, cut off at write {failing}: {cidrs:?}");
            if done {
                before = data_plane;
                break;
            }
        }
    }
}
