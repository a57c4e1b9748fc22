//! What does not fit.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use fastrand::Rng;
use jiff::Timestamp;

use super::{ADDRESSES, PORTS, assert_desired, database, run, target};
use crate::rules::{LineKey, Mode, RuleSet};
use crate::sync::memory::Memory;
use crate::sync::{Capacity, Claim, Desired, DesiredDatabase, LineKind, Live, publish};

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
