//! What does not fit.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use fastrand::Rng;
use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;

use super::{ADDRESSES, PORTS, assert_desired, database, run, target};
use crate::rules::{LineKey, Mode, RuleSet};
use crate::sync::memory::Memory;
use crate::sync::{Capacity, Claim, Desired, DesiredDatabase, LineKind, Live, Ports, publish};

#[test]
fn a_database_with_more_rules_than_lines_are_free_holds_up_no_other() {
    let mut rng = Rng::with_seed(5);
    let mut memory = Memory::default();
    let mut many = database(&mut rng, 1, vec![target(ADDRESSES[0], PORTS[0])]);
    for number in 0..40u8 {
        let key = LineKey::Rule(format!("many-{number}").parse().unwrap());
        many.set.v4.insert(Ipv4Addr::new(10, number, 0, 0).into(), key.clone());
        many.lines.insert(key, (LineKind::Custom, String::new()));
    }
    let other = database(&mut rng, 1, vec![target(ADDRESSES[1], PORTS[0])]);
    let wishes = [("a".parse().unwrap(), many.clone()), ("b".parse().unwrap(), other)];
    let desired = Desired { databases: wishes.into(), ..Desired::default() };
    let mut live = Live::default();
    let done = publish(&desired, &mut live, &mut memory, Timestamp::UNIX_EPOCH);
    assert!(done.failed.is_empty() && done.uncounted.values().sum::<usize>() > 0, "{done:?}");
    assert_desired(&desired, &memory.live, "too many rules");
    // Every allowed source is allowed, counted on the default line where no other is free.
    let default = memory.live.databases[&0].default_line;
    assert!(memory.live.databases[&0].sources.v4.values().any(|line| *line == default));
}

#[test]
fn what_does_not_fit_is_refused_with_figures_before_the_first_write_and_a_revocation_always_fits() {
    let mut wish = database(&mut Rng::with_seed(5), 1, vec![target(ADDRESSES[0], PORTS[0])]);
    wish.set = RuleSet::default();
    for number in 0..10u8 {
        let key = LineKey::Rule(format!("r{number}").parse().unwrap());
        wish.set.v4.insert(Ipv4Addr::new(10, number, 0, 0).into(), key.clone());
        wish.lines.insert(key, (LineKind::Custom, String::new()));
    }
    let desired = |wish: &DesiredDatabase, limits| Desired {
        databases: BTreeMap::from([("a".parse().unwrap(), wish.clone())]),
        limits,
        ..Desired::default()
    };
    let tight = [
        (Capacity { prefixes: 9, ..Capacity::default() }, "at most 9 fit"),
        (Capacity { memory: 1024, ..Capacity::default() }, "about 1 KiB"),
        (Capacity { endpoints: 0, ..Capacity::default() }, "at most 0 fit"),
    ];
    for (limits, figures) in tight {
        let mut memory = Memory::default();
        let mut live = Live::default();
        let done = publish(&desired(&wish, limits), &mut live, &mut memory, Timestamp::UNIX_EPOCH);
        let message = format!("{:#}", done.failed.values().next().unwrap());
        assert!(message.contains(figures), "{message}");
        // Nothing of it is written, but that its endpoint is closed: a file says that it is protected.
        assert!(memory.live.databases.is_empty() && memory.live.lines.is_empty(), "{message}");
        let claims: Vec<_> = memory.live.table.endpoints.values().collect();
        assert_eq!(claims, [&Claim::Closed], "{message}");
    }
    let mut memory = Memory::default();
    assert!(run(&desired(&wish, Capacity::default()), &mut memory));
    for (limits, _) in tight {
        wish.set.v4.pop_first();
        wish.revision += 1;
        assert!(run(&desired(&wish, limits), &mut memory), "{limits:?}");
        assert_eq!(memory.live.databases[&0].sources.v4.len(), wish.set.v4.len());
    }
}

#[test]
fn a_revision_that_does_not_fit_leaves_what_is_in_force_untouched() {
    let mut wish = database(&mut Rng::with_seed(5), 1, vec![target(ADDRESSES[0], PORTS[0])]);
    wish.mode = Mode::Enforce;
    wish.set.v4 = [(Ipv4Addr::new(10, 0, 0, 0).into(), LineKey::Rule("r".parse().unwrap()))].into();
    wish.set.v6.clear();
    let named = |wish: &DesiredDatabase| BTreeMap::from([("a".parse().unwrap(), wish.clone())]);
    let mut desired = Desired { databases: named(&wish), monitor: true, ..Desired::default() };
    let (mut live, mut memory) = (Live::default(), Memory::default());
    assert!(publish(&desired, &mut live, &mut memory, Timestamp::UNIX_EPOCH).failed.is_empty());
    let before = memory.live.clone();
    // Watched only, at another place, and with more prefixes than fit.
    wish.revision += 1;
    wish.mode = Mode::Monitor;
    wish.targets = [target(ADDRESSES[1], PORTS[0])].into();
    wish.set.v4.insert(Ipv4Addr::new(10, 1, 0, 0).into(), LineKey::Rule("r".parse().unwrap()));
    desired.databases = named(&wish);
    desired.limits = Capacity { prefixes: 1, ..Capacity::default() };
    let done = publish(&desired, &mut live, &mut memory, Timestamp::UNIX_EPOCH);
    assert_eq!(done.failed.len(), 1, "{done:?}");
    let there = target(ADDRESSES[0], PORTS[0]);
    let held = &before.table.endpoints[&there];
    assert_eq!(memory.live.table.endpoints[&there], *held, "neither closed nor only watched");
    assert_eq!(memory.live.databases, before.databases);
    desired.limits = Capacity::default();
    assert!(publish(&desired, &mut live, &mut memory, Timestamp::UNIX_EPOCH).failed.is_empty());
    assert_ne!(memory.live.table.endpoints[&there], *held, "once it fits it counts");
}

#[test]
fn memory_that_one_database_is_given_is_not_there_for_the_next() {
    let mut wish = database(&mut Rng::with_seed(5), 1, Vec::new());
    wish.set = RuleSet::default();
    for number in 0..10 {
        let net = IpNet::from(Ipv4Net::from(Ipv4Addr::new(10, number, 0, 0)));
        wish.set.allow(net, &LineKey::Rule("r".parse().unwrap()));
    }
    // Each alone fits, and so do two.
    let limits = Capacity { memory: 2 * 10 * 144 + 144, ..Capacity::default() };
    let databases = ["a", "b", "c"].map(|id| (id.parse().unwrap(), wish.clone())).into();
    let desired = Desired { databases, limits, ..Desired::default() };
    let done = publish(&desired, &mut Live::default(), &mut Memory::default(), Timestamp::UNIX_EPOCH);
    assert_eq!((done.applied.len(), done.failed.len()), (2, 1), "{done:?}");
}

#[test]
fn what_expires_or_is_revoked_does_not_wait_for_room() {
    let net = |text: &str| text.parse().unwrap();
    let mut wish = database(&mut Rng::with_seed(5), 1, vec![target(ADDRESSES[0], PORTS[0])]);
    wish.mode = Mode::Enforce;
    let allow = |wish: &mut DesiredDatabase, nets: &[&str]| {
        wish.set = RuleSet::default();
        for text in nets {
            wish.set.allow(net(text), &LineKey::Rule("r".parse().unwrap()));
        }
        wish.lines = [(LineKey::Rule("r".parse().unwrap()), (LineKind::Custom, String::new()))].into();
    };
    let limits = Capacity { prefixes: 3, ..Capacity::default() };
    let named = |wish: &DesiredDatabase| BTreeMap::from([("a".parse().unwrap(), wish.clone())]);
    let (mut live, mut memory) = (Live::default(), Memory::default());
    allow(&mut wish, &["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
    let mut desired = Desired { databases: named(&wish), limits, ..Desired::default() };
    assert!(publish(&desired, &mut live, &mut memory, Timestamp::UNIX_EPOCH).failed.is_empty());
    // The first is there in parts only, the second is revoked, the third stays; and more than fits is new.
    wish.revision = 2;
    allow(&mut wish, &["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "2001:db8::/32", "198.51.100.0/24"]);
    desired.databases = named(&wish);
    let done = publish(&desired, &mut live, &mut memory, Timestamp::UNIX_EPOCH);
    assert!(format!("{done:?}").contains("no room") && done.applied.is_empty(), "{done:?}");
    let held: Vec<String> =
        memory.live.databases[&0].sources.iter().map(|(net, _)| net.to_string()).collect();
    assert_eq!(held, ["10.1.0.0/16", "10.2.0.0/16", "2001:db8::/32"], "never more than there were");
    let stamp = memory.live.databases[&0].stamp.as_ref().unwrap();
    assert_eq!((stamp.revision, memory.live.databases[&0].floor), (1, 1), "the new one is not in force");
    let writes = memory.writes;
    publish(&desired, &mut live, &mut memory, Timestamp::UNIX_EPOCH);
    assert_eq!(memory.writes, writes, "asked again, nothing is written");
    desired.limits = Capacity::default();
    assert!(publish(&desired, &mut live, &mut memory, Timestamp::UNIX_EPOCH).failed.is_empty());
    assert_desired(&desired, &memory.live, "once there is room");
}

#[test]
fn what_left_takes_no_room_where_a_guard_closes_it_or_where_it_is_claimed_anew() {
    let limits = Capacity { endpoints: 2, ..Capacity::default() };
    let guarded = Ports::from([PORTS[0]]);
    let (mut live, mut memory) = (Live::default(), Memory::default());
    let mut turn = |id: &str, here: &[_], removed: &[&str]| {
        let wish = database(&mut Rng::with_seed(5), 1, here.to_vec());
        let desired = Desired {
            databases: if here.is_empty() { BTreeMap::new() } else { [(id.parse().unwrap(), wish)].into() },
            removed: removed.iter().map(|id| id.parse().unwrap()).collect(),
            guarded: guarded.clone(),
            limits,
            ..Desired::default()
        };
        let done = publish(&desired, &mut live, &mut memory, Timestamp::UNIX_EPOCH);
        done.failed.values().next().map(|error| format!("{error:#}"))
    };
    // Guarded: any number comes and goes.
    for id in ["a", "b", "c", "d"] {
        assert_eq!(turn(id, &[target(ADDRESSES[0], PORTS[0]), target(ADDRESSES[1], PORTS[0])], &[]), None);
        assert_eq!(turn("", &[], &[id]), None);
    }
    // Not guarded: the tombstones of two leave room for nobody else, and for who takes their places.
    let both = [target(ADDRESSES[0], PORTS[1]), target(ADDRESSES[1], PORTS[1])];
    assert_eq!(turn("e", &both, &[]), None);
    assert_eq!(turn("", &[], &["e"]), None);
    assert_eq!(turn("f", &both, &[]), None);
    assert_eq!(turn("", &[], &["f"]), None);
    let refusal = turn("g", &[target(ADDRESSES[0], PORTS[2])], &[]);
    assert!(refusal.is_some_and(|error| error.contains("2 others, closed ones included")));
}
