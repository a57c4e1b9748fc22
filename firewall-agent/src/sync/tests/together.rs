//! Databases that are published together.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::{ADDRESSES, DATABASES, PORTS, assert_desired, destination};
use crate::rules::{CounterKey, Mode, RuleSet};
use crate::sync::FakeDataPlane;
use crate::sync::{CounterKind, Desired, DesiredDatabase, publish};

/// Every database with one prefix of its own and, after the first revision, another.
fn desired(revision: u64) -> Desired {
    let wanted = |number: u8| {
        let key = CounterKey::Rule("r".parse().unwrap());
        let net = Ipv4Addr::new(10, number, u8::try_from(revision).unwrap(), 0).into();
        let mut set = RuleSet::default();
        set.prefixes.v4.insert(net, key.clone());
        DesiredDatabase {
            is_closed: false,
            name: String::new(),
            revision,
            mode: Mode::Enforce,
            destinations: [destination(ADDRESSES[0], PORTS[usize::from(number)])].into(),
            set,
            counters: BTreeMap::from([(key, (CounterKind::Custom, String::new()))]),
        }
    };
    let databases =
        DATABASES.iter().zip(0..).map(|(id, number)| (id.parse().unwrap(), wanted(number).into()));
    Desired { databases: databases.collect(), ..Desired::default() }
}

#[test]
fn all_changed_databases_are_replaced_together_and_no_other() {
    let mut data_plane = FakeDataPlane::default();
    let mut live = data_plane.live.clone();
    for revision in 1..=2 {
        let done = publish(&desired(revision), &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        assert_eq!((done.applied.len(), data_plane.waits), (3, 1), "revision {revision}: {done:?}");
        data_plane = data_plane.recovered();
    }
    let mut wanted = desired(2);
    let id = DATABASES[1].parse().unwrap();
    wanted.databases.insert(id, desired(3).databases[&DATABASES[1].parse().unwrap()].clone());
    let done = publish(&wanted, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
    assert_eq!((done.applied.len(), data_plane.waits), (1, 1), "{done:?}");
    data_plane = data_plane.recovered();
    let removed = DATABASES.iter().map(|id| id.parse().unwrap()).collect();
    let gone = Desired { removed, ..Desired::default() };
    let done = publish(&gone, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
    assert_eq!((done.removed.len(), data_plane.waits), (3, 1), "{done:?}");
}

#[test]
fn failure_of_one_database_blocks_no_other() {
    let mut whole = FakeDataPlane::default();
    let mut live = whole.live.clone();
    publish(&desired(1), &mut live, &mut whole, Timestamp::UNIX_EPOCH);
    let whole = whole.recovered();
    let mut alone = 0;
    for failing in 0.. {
        let mut data_plane = FakeDataPlane { failing: Some(failing), ..whole.clone() };
        let mut live = whole.live.clone();
        let done = publish(&desired(2), &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        if data_plane.writes <= failing {
            break;
        }
        let mut wanted = desired(2);
        wanted.databases.retain(|id, _| done.applied.contains_key(id));
        assert_desired(&wanted, &data_plane.live, &format!("write {failing} refused"));
        assert_eq!(done.applied.len() + done.failed.len(), 3, "write {failing} refused: {done:?}");
        alone += usize::from(done.failed.len() == 1);
        let done = publish(&desired(2), &mut live, &mut data_plane.recovered(), Timestamp::UNIX_EPOCH);
        assert!(done.failed.is_empty(), "after write {failing} was refused: {done:?}");
    }
    // The record and the trie of each.
    assert!(alone >= 6, "only {alone} failures were one database's own");
}
