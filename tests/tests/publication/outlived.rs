//! The fast path under continuous replacement of the tries: no cached entry of the old list outlives the publish, and
//! every one of the new list is in time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use firewall_agent::bpf::{Kernel, Probe};
use firewall_agent::sync::publish;
use firewall_common::fast_path;
use firewall_tests::lab::{cpus, pin_to};
use jiff::Timestamp;

use crate::kernel::{XDP_DROP, XDP_PASS, action};
use crate::questions::{apart, of_first_set};
use crate::rule_sets::{Set, desired};
use crate::{LoadedPrograms, often};

const PUBLISHES: usize = 150;
/// Bit of the clock: a publish is in progress.
const UNDER_WAY: u64 = 1;
const DONE: u64 = u64::MAX;

/// Verdict caches are per CPU: a thread on each sends packets continuously, and every verdict between two publishes
/// must follow the newer one.
#[test]
fn no_cached_verdict_outlives_its_publish() {
    let loaded = LoadedPrograms::new();
    race(&loaded, |firewall, clock| {
        let frames = of_first_set();
        let before = clock();
        let actions = frames.each_ref().map(|frame| firewall.run(frame, None).unwrap());
        if before != clock() || before & UNDER_WAY != 0 {
            return false;
        }
        let right = action(Set::of_turn(before / 2) == Set::First);
        assert_eq!(actions, [right; 2], "after publish {}", before / 2);
        true
    });
}

/// Without the verdict cache, a verdict by the new list means that all later ones follow it: once a leaving source is
/// denied, the arriving one is allowed. A filter narrowed before, or widened after, breaks this.
#[test]
fn source_prefilter_covers_old_and_new_list_during_a_publish() {
    let loaded = LoadedPrograms::with(fast_path::SOURCES);
    race(&loaded, |firewall, clock| {
        let mut is_published = false;
        for frames in apart() {
            let before = clock();
            // Odd turns lead to the second set: `before / 2` is the last finished publish, or the one in progress.
            let [leaving, coming] = if Set::of_turn(before / 2) == Set::First { [1, 0] } else { [0, 1] };
            let left = firewall.run(&frames[leaving], None).unwrap() == XDP_DROP;
            let came = firewall.run(&frames[coming], None).unwrap() == XDP_PASS;
            if before == clock() {
                assert!(!left || came, "publish {}: neither source is allowed", before / 2);
                is_published = before & UNDER_WAY == 0;
                assert!(!is_published || left, "after publish {}: both sources are allowed", before / 2);
            }
        }
        is_published
    });
}

/// Publishes the sets alternately while a thread on each CPU calls `query`, which returns whether it observed the last
/// publish as finished; the next publish waits for that.
fn race(loaded: &LoadedPrograms, query: impl Fn(&Probe, &dyn Fn() -> u64) -> bool + Sync) {
    loaded.publish(Set::First, false, 1);
    let mut kernel = Kernel::open(&loaded.bpffs_dir).unwrap();
    let mut live = kernel.live().unwrap();
    let clock = AtomicU64::new(0);
    let (dir, cpus) = (&*loaded.bpffs_dir, cpus().unwrap());
    let seen: Vec<AtomicU64> = cpus.iter().map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for (cpu, seen) in cpus.iter().zip(&seen) {
            let (clock, query) = (&clock, &query);
            scope.spawn(move || {
                let _end = End(seen);
                pin_to(*cpu).unwrap();
                let firewall = Probe::firewall(dir).unwrap();
                while clock.load(Ordering::SeqCst) != DONE {
                    let now = clock.load(Ordering::SeqCst);
                    if query(&firewall, &|| clock.load(Ordering::SeqCst)) {
                        seen.fetch_max(now, Ordering::SeqCst);
                    }
                }
            });
        }
        for turn in 1..=often(PUBLISHES) {
            clock.store((2 * turn) | UNDER_WAY, Ordering::SeqCst);
            let wanted = desired(Set::of_turn(turn), false, turn + 1);
            let done = publish(&wanted, &mut live, &mut kernel, Timestamp::now());
            assert!(done.failed.is_empty() && done.errors.is_empty(), "turn {turn}: {done:?}");
            clock.store(2 * turn, Ordering::SeqCst);
            while seen.iter().any(|seen| seen.load(Ordering::SeqCst) < 2 * turn) {
                thread::yield_now();
            }
        }
        clock.store(DONE, Ordering::SeqCst);
    });
}

/// Ends the wait for a thread that panicked.
struct End<'a>(&'a AtomicU64);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(DONE, Ordering::SeqCst);
    }
}
