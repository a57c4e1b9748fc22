//! Repairs restore the verdicts after any change in the kernel, and the files' table can be rebuilt.

use std::collections::BTreeSet;
use std::sync::Arc;

use fastrand::Rng;
use jiff::Timestamp;

use super::verdict::passes;
use super::{packets, random};
use crate::sync::FakeDataPlane;
use crate::sync::model::{Live, Ports};
use crate::sync::{BlockLists, Desired, Drift, Table, ensure_known, publish, rebuilt_table, repair};

const ROUNDS: u64 = 300;

fn published(rng: &mut Rng) -> (Desired, Live, FakeDataPlane) {
    let (mut live, mut data_plane) = (Live::default(), FakeDataPlane::default());
    let mut desired = random(rng, 1);
    for revision in 2..4 {
        publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
        desired = random(rng, revision);
    }
    publish(&desired, &mut live, &mut data_plane, Timestamp::UNIX_EPOCH);
    (desired, live, data_plane)
}

fn verdicts(live: &Live) -> Vec<bool> {
    packets().iter().map(|(source, destination)| passes(live, *source, destination)).collect()
}

#[test]
fn repair_restores_every_verdict() {
    let (mut changed, mut refused, seed) = (0, 0, fastrand::u64(..));
    let mut rng = Rng::with_seed(seed);
    for _ in 0..ROUNDS {
        let (_, mut live, mut data_plane) = published(&mut rng);
        let before = verdicts(&live);
        let drift = Drift {
            ports: rng.bool(),
            table: rng.bool(),
            sources: live.databases.keys().filter(|_| rng.bool()).copied().collect(),
            filters: false,
            blocks: rng.bool(),
        };
        if drift.ports {
            data_plane.live.claimed = Ports::new();
        }
        if drift.table {
            data_plane.live.table = Table::default();
        }
        if drift.blocks {
            data_plane.live.blocks = BlockLists::default();
        }
        for slot in &drift.sources {
            data_plane.live.databases.get_mut(slot).unwrap().sources = Arc::default();
        }
        changed += usize::from(verdicts(&data_plane.live) != before);
        // After a refusal at any write the desired state is still known, and the next attempt restores it.
        let known = live.clone();
        data_plane.failing = Some(data_plane.writes + rng.usize(0..4));
        if repair(&drift, &mut live, &mut data_plane).is_err() {
            refused += 1;
            assert_eq!(
                (&live.databases, &live.table),
                (&known.databases, &known.table),
                "seed {seed}: {drift:?}"
            );
            repair(&drift, &mut live, &mut data_plane).unwrap();
        }
        assert_eq!(verdicts(&data_plane.live), before, "seed {seed}: {drift:?}");
        assert_eq!(data_plane.live.databases, live.databases, "seed {seed}: {drift:?}");
    }
    assert!(refused > 50, "{refused} of {ROUNDS} repairs were refused at first");
    assert!(
        changed > 50,
        "the control: {changed} of {ROUNDS} changes made a difference before they were repaired"
    );
}

#[test]
fn table_is_rebuilt_from_the_files_and_not_without_them() {
    let (mut rebuilt, seed) = (0, fastrand::u64(..));
    let mut rng = Rng::with_seed(seed);
    for _ in 0..ROUNDS {
        let (mut desired, live, _) = published(&mut rng);
        // Tombstones are stored with the files.
        desired.closed = super::claimed(closed(&live));
        if ensure_known(&desired, &live).is_err() {
            continue;
        }
        rebuilt += 1;
        assert_eq!(rebuilt_table(&desired, &live), live.table, "seed {seed}");
        if let Some(database) = live.databases.values().next() {
            desired.databases.remove(&database.id);
            desired.removed.remove(&database.id);
            let refused = ensure_known(&desired, &live).unwrap_err().to_string();
            assert!(refused.contains(database.id.as_str()), "seed {seed}: {refused}");
        }
    }
    assert!(rebuilt > 50, "{rebuilt} of {ROUNDS}");
}

fn closed(live: &Live) -> BTreeSet<crate::sync::Destination> {
    let endpoints = live.table.endpoints.iter();
    endpoints
        .filter(|(_, claim)| **claim == crate::sync::TableEntry::Tombstone)
        .map(|(destination, _)| *destination)
        .collect()
}
