//! Block lists that the data plane refuses.

use std::net::IpAddr;
use std::sync::Arc;

use fastrand::Rng;
use ipnet::IpNet;
use jiff::Timestamp;

use super::verdict::{is_monitored, owner, passes};
use super::{SOURCES, packets, random, run};
use crate::rules::Mode;
use crate::sync::{
    BlockListKind, BlockedRanges, BlockedSource, BlockedSources, Capacity, Desired, FakeDataPlane, Live,
    publish,
};

/// A random desired state with random blocked ranges.
fn blocking(rng: &mut Rng, revision: u64) -> Desired {
    let blocked = SOURCES.iter().filter(|_| rng.u8(0..3) == 0);
    let blocked = blocked.map(|source| {
        let net = source.parse::<IpAddr>().unwrap().into();
        (BlockedSource { database: None, net }, "abuse".into())
    });
    let sources = Arc::new(blocked.collect::<BlockedSources>());
    let blocked_ranges = Arc::new(BlockedRanges { sources, names: [("abuse".into(), String::new())].into() });
    Desired { blocked_ranges, ..random(rng, revision) }
}

#[test]
fn refused_list_delays_neither_the_other_list_nor_enforcement() {
    let mut rng = Rng::with_seed(23);
    let mut data_plane = FakeDataPlane::default();
    let (mut refused, mut blocks, mut enforced) = (0, 0, 0);
    for round in 1..=3_000 {
        let (without, other) = match rng.bool() {
            true => (BlockListKind::Ranges, BlockListKind::Local),
            false => (BlockListKind::Local, BlockListKind::Ranges),
        };
        let desired = blocking(&mut rng, round);
        let before = data_plane.live.clone();
        data_plane.without = Some(without);
        let mut live = before.clone();
        let done = publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        let after = data_plane.live.clone();
        let what =
            || format!("round {round} without {without:?}: {desired:?} BEFORE {before:#?} AFTER {after:#?}");
        refused += u32::from(!done.errors.is_empty());
        let wanted = desired.blocked_sources(other, &after.slots());
        assert!(
            wanted.keys().all(|source| after.blocks.get(other).sources.contains_key(source)),
            "{}",
            what()
        );
        blocks += u32::from(!done.errors.is_empty() && after.blocks.get(other) != before.blocks.get(other));
        let missing = desired.blocked_sources(without, &after.slots());
        for (source, to) in packets() {
            let id = owner(&after, &to).map(|slot| after.databases[&slot].id.clone());
            if id.and_then(|id| Some(desired.databases.get(&id)?.mode)) == Some(Mode::Enforce) {
                assert!(!is_monitored(&after, &to), "{to} is monitored: {}", what());
                enforced += u32::from(!done.errors.is_empty() && is_monitored(&before, &to));
            }
            let is_missing = !after.blocks.get(without).contains(&missing);
            let is_claimed = owner(&after, &to).is_some();
            let opens = is_claimed && passes(&after, source, &to) && !passes(&before, source, &to);
            assert!(!opens || !is_missing, "{source} gets in to {to}: {}", what());
        }
        data_plane = data_plane.recovered();
        assert!(run(&desired, &mut data_plane), "round {round}");
        data_plane = data_plane.recovered();
    }
    assert!(refused > 300 && blocks > 100 && enforced > 100, "{refused}, {blocks}, {enforced}");
}

#[test]
fn list_without_memory_is_refused_before_any_write_and_a_shorter_one_fits() {
    let blocked = |number: u8| {
        let net = |at| IpNet::from(IpAddr::from([10, 0, 0, at]));
        let entries = (0..number).map(|at| (BlockedSource { database: None, net: net(at) }, "abuse".into()));
        let sources = Arc::new(entries.collect::<BlockedSources>());
        Arc::new(BlockedRanges { sources, names: [("abuse".into(), String::new())].into() })
    };
    let mut data_plane = FakeDataPlane::default();
    let mut live = Live::default();
    let mut published = |number, memory| {
        let limits = Capacity { memory, ..Capacity::default() };
        let desired = Desired { blocked_ranges: blocked(number), limits, ..Desired::default() };
        let writes = data_plane.writes;
        let done = publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        let errors: Vec<String> = done.errors.iter().map(|error| format!("{error:#}")).collect();
        (errors, data_plane.writes - writes, live.blocks.ranges.sources.len())
    };
    let (errors, writes, length) = published(20, 2047);
    assert!(errors[0].contains("no room for 20 prefixes: they need about 2 KiB"), "{errors:?}");
    assert_eq!((writes, length), (0, 0));
    assert_eq!(published(20, 4096).2, 20);
    let (errors, _, length) = published(10, 0);
    assert!(errors.is_empty() && length == 10, "{errors:?}: {length}");
}

/// The list is refused before any write: the data plane refuses nothing.
#[test]
fn while_a_list_has_no_memory_no_entry_of_the_other_leaves() {
    let mut rng = Rng::with_seed(31);
    let mut data_plane = FakeDataPlane::default();
    let (mut refused, mut waiting) = (0, 0);
    for round in 1..=3_000 {
        let memory = if rng.bool() { 0 } else { u64::MAX };
        let limits = Capacity { memory, ..Capacity::default() };
        let desired = Desired { limits, ..blocking(&mut rng, round) };
        let before = data_plane.live.clone();
        let mut live = before.clone();
        let done = publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        let after = data_plane.live.clone();
        let kinds = BlockListKind::ALL.map(|kind| (kind, desired.blocked_sources(kind, &after.slots())));
        let is_missing = kinds.iter().any(|(kind, wanted)| !after.blocks.get(*kind).contains(wanted));
        refused += u32::from(is_missing);
        assert!(!is_missing || !done.errors.is_empty(), "round {round}: {done:?}");
        waiting +=
            u32::from(is_missing && kinds.iter().any(|(kind, wanted)| !after.blocks.get(*kind).is(wanted)));
        for (source, to) in packets() {
            let opens =
                owner(&after, &to).is_some() && passes(&after, source, &to) && !passes(&before, source, &to);
            assert!(
                !opens || !is_missing,
                "round {round}: {source} gets in to {to}: {desired:?} BEFORE {before:#?} AFTER {after:#?}"
            );
        }
    }
    assert!(refused > 300 && waiting > 100, "{refused}, {waiting}");
}

#[test]
fn entry_that_waits_for_a_refused_write_is_reported() {
    let mut rng = Rng::with_seed(29);
    let mut waits = 0;
    for round in 1..=300 {
        let mut data_plane = FakeDataPlane::default();
        run(&blocking(&mut rng, round), &mut data_plane);
        let desired = blocking(&mut rng, round + 1);
        for failing in 0..8 {
            let mut refusing = FakeDataPlane { failing: Some(failing), ..data_plane.clone().recovered() };
            let mut live = refusing.live.clone();
            let done = publish(&desired, &mut live, &mut refusing, Timestamp::UNIX_EPOCH);
            let has_left = |kind| live.blocks.get(kind).is(&desired.blocked_sources(kind, &live.slots()));
            let is_waiting = !BlockListKind::ALL.into_iter().all(has_left);
            assert!(!is_waiting || !done.errors.is_empty(), "round {round}, write {failing}: {done:?}");
            waits += u32::from(
                is_waiting && done.failed.values().any(|error| error.to_string().contains("refused")),
            );
        }
    }
    assert!(waits > 50, "{waits} publishes left an entry");
}
