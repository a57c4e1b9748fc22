//! Publishing on the real kernel, without a daemon: every verdict follows exactly one complete rule set.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/bpf.rs"]
mod bpf;
#[path = "../support/kernel.rs"]
mod kernel;

mod cut_off;
mod frozen;
mod killed;
mod outlived;
mod questions;
#[path = "../support/raw.rs"]
mod raw;
mod rule_sets;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use firewall_agent::bpf::{Kernel, Probe, Programs};
use firewall_agent::sync::{Live, digest, publish};
use firewall_common::{Reason, fast_path};
use firewall_tests::lab::{Lab, rounds};
use jiff::Timestamp;

use crate::questions::{of_first_set, query_probe, run_firewall};
use crate::raw::{Map, ROOM, trie_key};
use crate::rule_sets::{ALWAYS4, GUARDED, Set, desired, files, prefixes};

const PUBLISHES: usize = 1_000;
/// Minimum number of concurrent verdicts for a meaningful result.
const VERDICTS: usize = 100_000;
const DUMPED_PUBLISHES: usize = 200;
/// Limit for the control's edits; they end at the first miss.
const EDITED: Duration = Duration::from_secs(120);

#[test]
fn thousand_publishes_give_no_wrong_verdict() {
    let publishes = often(PUBLISHES);
    let loaded = LoadedPrograms::new();
    loaded.publish(Set::First, true, 1);
    let probe = Probe::pinned(&loaded.bpffs_dir).unwrap();
    let mut kernel = Kernel::open(&loaded.bpffs_dir).unwrap();
    let mut live = kernel.live().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads = [
            scope.spawn(|| query_probe(&loaded.bpffs_dir, &stop)),
            scope.spawn(|| run_firewall(&loaded.bpffs_dir, &stop)),
        ];
        for turn in 1..=publishes {
            let (set, neighbour) = (Set::of_turn(turn), turn / 10 % 2 == 0);
            let done = publish(&desired(set, neighbour, turn + 1), &mut live, &mut kernel, Timestamp::now());
            assert!(done.failed.is_empty() && done.errors.is_empty(), "turn {turn}: {done:?}");
            let expected = if set == Set::First { Reason::Allowed } else { Reason::NoMatch };
            for frame in of_first_set() {
                assert_eq!(
                    probe.answer(&frame, None).unwrap().reason,
                    expected,
                    "in force after turn {turn}"
                );
            }
        }
        stop.store(true, Ordering::Relaxed);
        for answers in threads.map(|thread| thread.join().unwrap()) {
            println!("{} verdicts during {publishes} publishes", answers.verdicts);
            assert!(answers.verdicts >= often(VERDICTS), "only {} verdicts", answers.verdicts);
            assert!(answers.wrong.is_empty(), "{} wrong: {:?}", answers.wrong.len(), answers.wrong.first());
        }
    });
}

/// Control: edits in place make lookups miss, which a publish avoids.
#[test]
fn in_place_trie_edits_cause_lookup_misses() {
    let trie = Map::trie(16);
    let prefix = trie_key("203.0.113.0/24".parse().unwrap());
    let source = trie_key(ALWAYS4.into());
    trie.insert(&prefix, &[1; ROOM]).unwrap();
    let stop = AtomicBool::new(false);
    let misses = AtomicU64::new(0);
    let lookups = thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let mut lookups = 0u64;
            while !stop.load(Ordering::Relaxed) {
                lookups += 1;
                misses.fetch_add(trie.look_up(&source).is_err().into(), Ordering::Relaxed);
            }
            lookups
        });
        // A lookup misses only if an edit falls into it, which the scheduler of a busy machine may delay for long.
        let began = Instant::now();
        while misses.load(Ordering::Relaxed) == 0 && began.elapsed() < EDITED {
            trie.remove(&prefix).unwrap();
            trie.insert(&prefix, &[1; ROOM]).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        looker.join().unwrap()
    });
    let misses = misses.into_inner();
    println!("{misses} of {lookups} lookups missed");
    assert!(misses > 0, "none of {lookups} lookups missed");
}

#[test]
fn dump_during_publishes_equals_one_rule_set_per_family() {
    let publishes = often(DUMPED_PUBLISHES);
    let loaded = LoadedPrograms::new();
    loaded.publish(Set::First, true, 1);
    let stop = AtomicBool::new(false);
    let dumps = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let kernel = Kernel::open(&loaded.bpffs_dir).unwrap();
            let mut dumps = 0;
            while !stop.load(Ordering::Relaxed) {
                is_one_set_in_each_family(&kernel.live().unwrap());
                dumps += 1;
            }
            dumps
        });
        for turn in 1..=publishes {
            loaded.publish(Set::of_turn(turn), turn / 10 % 2 == 0, turn + 1);
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(dumps > publishes / 10, "only {dumps} dumps");
}

/// Requires one rule set in each family, and that the stamp, if present, is that of the set; between the updates of the
/// two families there is no stamp.
fn is_one_set_in_each_family(live: &Live) {
    let (v4, v6) = prefixes(live);
    let sets = [Set::First, Set::Second];
    assert!(sets.iter().any(|set| set.v4() == v4), "a mix: {v4:?}");
    assert!(sets.iter().any(|set| set.v6() == v6), "a mix: {v6:?}");
    for database in live.databases.values() {
        if let Some(stamp) = &database.stamp {
            assert_eq!(stamp.digest, digest(&database.sources), "{database:?}");
        }
    }
}

/// Returns `usual`, or a tenth of it for a brief run.
fn often(usual: usize) -> u64 {
    rounds(usual, usual) as u64
}

/// Loaded programs with maps in a private bpffs.
struct LoadedPrograms {
    bpffs_dir: PathBuf,
    _programs: Programs,
    _lab: Lab,
}

impl LoadedPrograms {
    fn new() -> Self {
        Self::with(fast_path::ALL)
    }

    fn with(accelerations: u32) -> Self {
        let lab = Lab::new().unwrap();
        let bpffs_dir = Path::new("/sys/fs/bpf/firewall-agent").to_owned();
        let (programs, _) = kernel::load(&bpffs_dir, accelerations);
        Self { bpffs_dir, _programs: programs, _lab: lab }
    }

    /// Publishes as a newly started agent does.
    fn publish(&self, set: Set, neighbour: bool, revision: u64) {
        kernel::put_in_force(&self.bpffs_dir, &files(set, neighbour, revision), &[GUARDED]);
    }

    /// Returns the pins in a directory of the layout, sorted.
    fn pins(&self, dir: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.bpffs_dir.join("v3").join(dir)).unwrap();
        let mut pins: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        pins.sort();
        pins
    }
}
