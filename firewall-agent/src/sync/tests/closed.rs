//! Histories of a host with files that change, fit or do not fit, and with any write refused: a destination that was
//! ever claimed admits no source without an allowing file, no permitted source is cut off, and the final state is as
//! specified.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use fastrand::Rng;
use jiff::Timestamp;

use super::specified::assert_specified;
use super::verdict::passes;
use super::{PORTS, packets, random};
use crate::rules::{CounterKey, DatabaseId, Mode, Protocol, RuleSet};
use crate::sync::model::{DatabaseSlot, Destination, Live, TableEntry};
use crate::sync::{Capacity, Desired, DesiredDatabase, FakeDataPlane, Guards, Ports, Published, publish};

/// Every address of an unguarded port.
const WILDCARD: Destination = Destination { address: None, port: PORTS[2], protocol: Protocol::Tcp };

/// Destinations that were ever claimed, and not released.
#[derive(Default)]
struct Host {
    claims: BTreeSet<Destination>,
    data_plane: FakeDataPlane,
    live: Live,
    /// In force before the last reboot.
    first: BTreeSet<DatabaseId>,
}

impl Host {
    /// Random files, with the resulting state of the store.
    fn desired(&mut self, rng: &mut Rng, revision: u64) -> Desired {
        // The overlay has oracles of its own.
        let mut desired = Desired { local_blocks: Vec::new(), ..random(rng, revision) };
        desired.databases.values_mut().for_each(|wanted| Arc::make_mut(wanted).is_closed = false);
        // A file that claims a destination of a database without a file is not admitted.
        let unnamed = self.live.databases.iter().filter(|(_, database)| {
            !desired.databases.contains_key(&database.id) && !desired.removed.contains(&database.id)
        });
        let unnamed: BTreeSet<DatabaseSlot> = unnamed.map(|(slot, _)| *slot).collect();
        let retained = self.live.table.endpoints.iter();
        let retained = retained.filter(|(_, claim)| claim.slot().is_some_and(|slot| unnamed.contains(&slot)));
        let retained: Vec<&Destination> = retained.map(|(to, _)| to).collect();
        for wanted in desired.databases.values_mut().map(Arc::make_mut) {
            wanted.destinations.retain(|to| !retained.iter().any(|one| one.overlaps(to)));
        }
        let mut some = || PORTS.into_iter().filter(|_| rng.bool()).collect::<Ports>();
        desired.guarded = Guards::new(some(), &some());
        if rng.u8(..3) == 0 {
            desired.limits = Capacity {
                prefixes: rng.usize(..8),
                endpoints: rng.usize(..6),
                memory: if rng.bool() { u64::MAX } else { rng.u64(..1_000) },
            };
        }
        let wanted: BTreeSet<Destination> =
            desired.databases.values().flat_map(|wanted| &wanted.destinations).copied().collect();
        if rng.u8(..3) == 0 {
            // The store has not made new claims durable.
            let stored =
                |to: &&Destination| self.claims.contains(*to) || self.claims.contains(&to.everywhere());
            desired.withheld = wanted.iter().filter(|to| !stored(to) || rng.u8(..4) == 0).copied().collect();
        } else {
            self.claims.extend(&wanted);
        }
        if rng.u8(..4) == 0 {
            let release = |to: &&Destination| !wanted.iter().any(|one| one.overlaps(to));
            desired.opened = self.claims.iter().filter(release).filter(|_| rng.bool()).copied().collect();
            // Those of a live database leave with it.
            let removed = |slot| desired.removed.contains(&self.live.databases[&slot].id);
            let open = self.live.table.endpoints.iter();
            let open = open.filter(|(_, claim)| claim.slot().is_some_and(|slot| !removed(slot)));
            let open: Vec<&Destination> = open.map(|(to, _)| to).collect();
            desired.opened.retain(|to| !open.iter().any(|open| open.overlaps(to)));
            self.claims.retain(|to| !desired.opened.contains(to));
        }
        // Open endpoints below a stored wildcard are known to the process that opened them.
        let open = self.live.table.endpoints.iter().filter(|(_, claim)| claim.slot().is_some());
        self.claims.extend(open.map(|(to, _)| *to).filter(|to| !desired.opened.contains(to)));
        desired.closed = super::claimed(self.claims.iter().copied());
        desired.first = self.first.clone();
        desired
    }
}

/// Returns the database in `desired` with the packet's destination, and `true` if its file allows the packet.
fn allowing<'a>(desired: &'a Desired, source: IpAddr, to: &'a Destination) -> Option<(&'a DatabaseId, bool)> {
    let mut databases = desired.databases.iter();
    let (id, wanted) = databases.find(|(_, wanted)| wanted.destinations.iter().any(|one| one.covers(to)))?;
    let net = source.into();
    Some((id, wanted.mode == Mode::Monitor || wanted.set.prefixes.get(&net).is_some()))
}

fn claim_at(live: &Live, to: &Destination) -> Option<TableEntry> {
    let endpoints = &live.table.endpoints;
    endpoints.get(to).or_else(|| endpoints.get(&to.everywhere())).copied()
}

fn slot_at(live: &Live, to: &Destination) -> Option<DatabaseSlot> {
    claim_at(live, to)?.slot()
}

/// Checks every state between `before`, of which `known` was known, and the end of a publish.
fn assert_safe(
    desired: &Desired,
    (before, known): (&Live, &Live),
    between: &[Live],
    done: &Published,
    what: &str,
) {
    for (source, to) in packets() {
        let claimed = desired.closed.iter().any(|one| one.covers(&to));
        let old = passes(before, source, &to);
        let allowing = allowing(desired, source, &to);
        // After an interrupted publish the allow list of a database is unknown: at most that of its file.
        let unknown = |id: &DatabaseId| {
            let mut databases = known.databases.values();
            databases.any(|database| database.id == *id && database.stamp.is_none())
        };
        let new = allowing.is_some_and(|(id, allows)| allows && (!done.crowded.contains(id) || unknown(id)));
        let both = allowing.is_some_and(|(_, allows)| allows) && old;
        // Owned by the same database before and after: sources that both lists allow are not cut off. Excepted are
        // databases without capacity that were in monitor mode, or had an interrupted publish, and refused ones that leave
        // monitor mode.
        let stays = allowing.is_some_and(|(id, _)| {
            let slot = before.databases.iter().find(|(_, one)| one.id == *id).map(|(slot, _)| *slot);
            let enforced =
                matches!(claim_at(before, &to), Some(TableEntry::Open { mode: Mode::Enforce, .. }));
            let fits = !done.crowded.contains(id);
            let leaves_monitor = !enforced && desired.databases[id].mode == Mode::Enforce;
            let fits = fits && !(leaves_monitor && done.failed.contains_key(id));
            slot.is_some() && slot == slot_at(before, &to) && (fits || enforced && !unknown(id))
        });
        // Without an owner before, and not closed before it is opened, except by a new guard or together with
        // everything else at its port.
        let opens = claim_at(before, &to).is_none()
            && old
            && !done.refused_writes
            && !desired.guarded.strict().contains(to.port)
            && !desired.closed.contains(&to.everywhere())
            && between.last().is_some_and(|after| passes(after, source, &to));
        for (at, state) in between.iter().enumerate() {
            let now = passes(state, source, &to);
            let why = || {
                format!(
                    "{what}: write {at}: {source} to {to}: {desired:?} BEFORE {before:#?} KNOWN {:#?} NOW {state:#?}",
                    known.databases
                )
            };
            assert!(!now || old || new || !claimed, "lets in: {}", why());
            assert!(now || !both || !stays, "cuts: {}", why());
            assert!(now || !opens, "closes for a moment: {}", why());
        }
    }
}

/// Checks the end of a publish, regardless of the state before.
fn assert_closed(desired: &Desired, before: &Live, after: &Live, done: &Published, what: &str) {
    for (source, to) in packets() {
        if !passes(after, source, &to) || !desired.closed.iter().any(|one| one.covers(&to)) {
            continue;
        }
        let allowed = match allowing(desired, source, &to) {
            // The kernel may have refused a revocation.
            Some((id, allows)) => {
                allows || done.refused_writes && done.failed.contains_key(id) && passes(before, source, &to)
            }
            // No valid file for this database.
            None => {
                let id = slot_at(after, &to).map(|slot| &after.databases[&slot].id);
                id.is_some_and(|id| !desired.removed.contains(id) && !desired.databases.contains_key(id))
                    && passes(before, source, &to)
            }
        };
        assert!(allowed, "{what}: {source} gets in to {to}: {desired:?}");
    }
}

/// Counts of events that a history must show.
#[derive(Debug, Default)]
struct Tally {
    crowded: usize,
    tombstones: usize,
    withheld: usize,
    refused: usize,
    guards: usize,
}

fn step(host: &mut Host, desired: &Desired, failing: Option<usize>, dead: bool, what: &str) -> Published {
    let (before, known) = (host.data_plane.live.clone(), host.live.clone());
    let mut data_plane = FakeDataPlane { failing, dead, ..host.data_plane.clone().recovered() };
    let done = publish(desired, &mut host.live, &mut data_plane, Timestamp::UNIX_EPOCH);
    let refused = failing.is_some_and(|failing| data_plane.writes > failing);
    assert_eq!(done.refused_writes, refused, "{what}: {done:?}");
    assert!(refused || done.errors.is_empty(), "{what}: {done:?}");
    let without = done.failed.keys().filter(|id| !done.crowded.contains(*id)).count();
    assert!(refused || without == 0, "{what}: {done:?}");
    assert_safe(desired, (&before, &known), &data_plane.history, &done, what);
    let after = data_plane.live.clone();
    if done.errors.is_empty() {
        assert_specified(desired, &before, &after, &done, what);
    }
    if !refused {
        assert_closed(desired, &before, &after, &done, what);
        assert_eq!(host.live.table, after.table, "{what}");
        for (slot, database) in host.live.databases.iter().filter(|(_, database)| database.stamp.is_some()) {
            assert_eq!(Some(database), after.databases.get(slot), "{what}");
        }
        // A repeated publish writes nothing, and the same databases do not fit.
        let writes = data_plane.writes;
        let repeated = Desired { limits: Capacity { memory: 0, ..desired.limits }, ..desired.clone() };
        let again = publish(&repeated, &mut host.live, &mut data_plane, Timestamp::UNIX_EPOCH);
        assert_eq!(data_plane.writes, writes, "{what}: published again: {again:?}");
        assert_eq!(again.crowded, done.crowded, "{what}: {desired:?} {:?}", again.failed);
        assert_specified(desired, &after, &after, &again, what);
    }
    host.data_plane = data_plane;
    done
}

#[test]
fn claimed_destination_stays_closed_in_every_history() {
    let seed = std::env::var("SYNC_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SYNC_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut tally = Tally::default();
    for history in 0..400 {
        let mut host = Host::default();
        for round in 1..=20 {
            let what = format!("seed {seed}, history {history}, round {round}");
            let desired = host.desired(&mut rng, round);
            let (failing, dead) = (rng.bool().then(|| rng.usize(..14)), rng.bool());
            let done = step(&mut host, &desired, failing, dead, &what);
            tally.refused += usize::from(done.refused_writes);
            if done.refused_writes {
                if rng.bool() {
                    // Another process reads back the live state.
                    host.live = Live { generation: host.live.generation, ..host.data_plane.live.clone() };
                }
                step(&mut host, &desired, None, false, &format!("{what}, then finished"));
            }
            let endpoints = &host.live.table.endpoints;
            tally.tombstones += endpoints.values().filter(|claim| claim.slot().is_none()).count();
            tally.guards += usize::from(!desired.guarded.is_empty());
            tally.crowded += done.crowded.len();
            tally.withheld += desired.withheld.len();
            if rng.u8(..12) == 0 {
                host.first = host.live.databases.values().map(|database| database.id.clone()).collect();
                (host.data_plane, host.live) = (FakeDataPlane::default(), Live::default());
            }
        }
    }
    let Tally { crowded, tombstones, withheld, refused, guards } = tally;
    let shown = [crowded, tombstones, withheld, refused, guards].into_iter().min();
    assert!(shown > Some(500), "{tally:?}");
}

/// An operator releases a tombstone below a wildcard, or above an address, that another database's file claims and that
/// is not open yet.
#[test]
fn released_destination_is_closed_until_an_overlap_is_in_force() {
    let [source, stranger] = ["192.0.2.1", "198.51.100.1"].map(|text| text.parse::<IpAddr>().unwrap());
    let address = Destination { address: Some("203.0.113.1".parse().unwrap()), ..WILDCARD };
    for (released, wanted) in [(address, WILDCARD), (WILDCARD, address)] {
        let (mut live, mut data_plane) = (Live::default(), FakeDataPlane::default());
        let closed = Desired { closed: super::claimed([released]), ..Desired::default() };
        publish(&closed, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        assert!(!passes(&live, source, &address));
        let mut set = RuleSet::default();
        set.allow(source.into(), &CounterKey::Rule("r".parse().unwrap()));
        let database = DesiredDatabase {
            is_closed: false,
            name: String::new(),
            revision: 1,
            mode: Mode::Enforce,
            destinations: BTreeSet::from([wanted]),
            set,
            counters: BTreeMap::new(),
        };
        let desired = Desired {
            databases: BTreeMap::from([("b".parse().unwrap(), database.into())]),
            opened: BTreeSet::from([released]),
            closed: super::claimed([wanted]),
            ..Desired::default()
        };
        let whole = FakeDataPlane::new(data_plane.live.clone(), data_plane.sizes);
        for failing in [None].into_iter().chain((0..12).map(Some)) {
            let (mut live, mut data_plane) =
                (live.clone(), FakeDataPlane { failing, dead: true, ..whole.clone() });
            publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
            for (at, state) in data_plane.history.iter().enumerate() {
                let what = format!("{released} released, write {failing:?} refused, state {at}: {state:?}");
                assert!(!passes(state, stranger, &address), "{what}");
            }
            // The control: everything else is open in the end.
            let beside = Destination { address: Some("203.0.113.2".parse().unwrap()), ..WILDCARD };
            let is_open = passes(&data_plane.live, stranger, &beside);
            assert!(failing.is_some() || is_open == (released == WILDCARD), "{failing:?}");
            assert!(failing.is_some() || passes(&data_plane.live, source, &address));
        }
    }
}
