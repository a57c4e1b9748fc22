//! What stands in front of the tries, while they are replaced as fast as it goes: what it knows of the old list does not
//! outlive the publish, and it knows of the new one in time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use firewall_agent::bpf::{Kernel, Probe};
use firewall_agent::sync::publish;
use firewall_common::stages;
use firewall_tests::lab::{cpus, pin_to};
use jiff::Timestamp;

use crate::questions::{XDP_DROP, XDP_PASS, apart, of_first_set};
use crate::rule_sets::{Set, desired};
use crate::{Bench, often};

const PUBLISHES: usize = 150;
/// Of the clock: a publish is under way.
const UNDER_WAY: u64 = 1;
const DONE: u64 = u64::MAX;

/// Each CPU keeps verdicts of its own: a thread on each asks all the time, and whatever it asks between two publishes
/// must be judged by the newer.
#[test]
fn no_verdict_outlives_the_publish_that_changes_it() {
    let bench = Bench::new();
    race(&bench, |firewall, clock| {
        let frames = of_first_set();
        let before = clock();
        let actions = frames.each_ref().map(|frame| firewall.run(frame, None).unwrap());
        if before != clock() || before & UNDER_WAY != 0 {
            return false;
        }
        let right = if Set::of_turn(before / 2) == Set::First { XDP_PASS } else { XDP_DROP };
        assert_eq!(actions, [right; 2], "after publish {}", before / 2);
        true
    });
}

/// Without kept verdicts a packet that is judged by the new list tells that all later ones are, too: once a source that
/// leaves is refused, the one that comes is admitted. A filter that is narrowed before, or widened after, breaks it.
#[test]
fn a_source_filter_is_wide_enough_for_both_lists_while_one_replaces_the_other() {
    let bench = Bench::with(stages::SOURCES);
    race(&bench, |firewall, clock| {
        let mut settled = false;
        for frames in apart() {
            let before = clock();
            // To the second set with odd turns: `before / 2` is the last that ended, or the one under way.
            let [leaving, coming] = if Set::of_turn(before / 2) == Set::First { [1, 0] } else { [0, 1] };
            let left = firewall.run(&frames[leaving], None).unwrap() == XDP_DROP;
            let came = firewall.run(&frames[coming], None).unwrap() == XDP_PASS;
            if before == clock() {
                assert!(!left || came, "publish {}: neither is admitted", before / 2);
                settled = before & UNDER_WAY == 0;
                assert!(!settled || left, "after publish {}: both are admitted", before / 2);
            }
        }
        settled
    });
}

/// Publishes one set after the other while a thread on each CPU calls `ask`, which says whether it saw the last one
/// settled; the next publish waits for that.
fn race(bench: &Bench, ask: impl Fn(&Probe, &dyn Fn() -> u64) -> bool + Sync) {
    bench.publish(Set::First, false, 1);
    let mut kernel = Kernel::open(&bench.bpffs_dir).unwrap();
    let mut live = kernel.live().unwrap();
    let clock = AtomicU64::new(0);
    let (dir, cpus) = (&*bench.bpffs_dir, cpus().unwrap());
    let seen: Vec<AtomicU64> = cpus.iter().map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for (cpu, seen) in cpus.iter().zip(&seen) {
            let (clock, ask) = (&clock, &ask);
            scope.spawn(move || {
                let _end = End(seen);
                pin_to(*cpu).unwrap();
                let firewall = Probe::firewall(dir).unwrap();
                while clock.load(Ordering::SeqCst) != DONE {
                    let now = clock.load(Ordering::SeqCst);
                    if ask(&firewall, &|| clock.load(Ordering::SeqCst)) {
                        seen.fetch_max(now, Ordering::SeqCst);
                    }
                }
            });
        }
        for turn in 1..=often(PUBLISHES) {
            clock.store((2 * turn) | UNDER_WAY, Ordering::SeqCst);
            let wish = desired(Set::of_turn(turn), false, turn + 1);
            let done = publish(&wish, &mut live, &mut kernel, Timestamp::now());
            assert!(done.failed.is_empty() && done.errors.is_empty(), "turn {turn}: {done:?}");
            clock.store(2 * turn, Ordering::SeqCst);
            while seen.iter().any(|seen| seen.load(Ordering::SeqCst) < 2 * turn) {
                thread::yield_now();
            }
        }
        clock.store(DONE, Ordering::SeqCst);
    });
}

/// A thread that ends, by a panic, is waited for no longer.
struct End<'a>(&'a AtomicU64);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(DONE, Ordering::SeqCst);
    }
}
