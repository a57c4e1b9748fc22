//! The filter compared with an independent model: a decision written from the verdict table alone, on another parser,
//! is checked against the loaded programs on the corpus and on random and damaged frames.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/kernel.rs"]
mod kernel;

mod addresses;
mod changes;
mod comparison;
mod decision;
mod frames;
mod loading;
mod mutations;
mod parsed_flow;
mod policies;
mod policy;
mod rows;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::time::{Instant, SystemTime};

use comparison::Comparison;
use decision::decide;
use fastrand::Rng;
use firewall_common::{Reason, fast_path};
use firewall_tests::packets::corpus::{self, Route};
use frames::Frames;
use policies::policies;

const FRAMES: usize = 1_000_000;
/// Environment variable with the printed seed of a run to repeat.
const SEED_VARIABLE: &str = "MODEL_SEED";
/// Frames up to this length are split at every offset, longer ones at some.
const SHORT: usize = 160;
/// The accelerations, in every combination.
const EVERY_COMBINATION: RangeInclusive<u32> = 0..=fast_path::ALL;

#[test]
fn programs_agree_with_the_model_on_a_million_frames() {
    let seed = match std::env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(),
    };
    let (started, mut reasons) = (Instant::now(), BTreeMap::new());
    let policies = policies();
    let share = FRAMES.div_ceil(policies.len() * EVERY_COMBINATION.count());
    for (name, policy) in &policies {
        for accelerations in EVERY_COMBINATION {
            let comparison = Comparison::new(policy, accelerations);
            let seed = seed + u64::from(accelerations);
            let what = format!("{name}, accelerations {accelerations:#b}, seed {seed}");
            let mut splits = Rng::with_seed(seed);
            for (at, frame) in Frames::new(seed, policy).take(share).enumerate() {
                let linear = splits.bool().then(|| splits.usize(14..=frame.len()));
                let reason = comparison.compare(&frame, linear, &format!("{what}, frame {at}"));
                *reasons.entry(reason).or_insert(0_usize) += 1;
            }
            comparison.compare_counters(&what);
        }
    }
    let total: usize = reasons.values().sum();
    // Written past the test harness's capture: the log of a successful run contains the seed, too.
    let line = format!(
        "model: {total} frames, seed {seed}, 0 disagreements, {:?}: {reasons:?}\n",
        started.elapsed()
    );
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    assert!(total >= FRAMES);
    for reason in Reason::ALL.map(Reason::name) {
        let count = reasons.get(reason).copied().unwrap_or(0);
        assert!(count * 200 >= total, "{reason}: only {count} of {total} frames");
    }
}

#[test]
fn programs_agree_with_the_model_on_the_corpus_at_every_split() {
    for (name, policy) in policies() {
        let comparison = Comparison::new(&policy, fast_path::ALL);
        for (source4, source6) in [("203.0.113.65", "2001:db8:a:1::1"), ("198.51.100.66", "2001:db8:bad::1")]
        {
            let route = Route {
                to: [2, 0, 0, 0, 0, 1],
                from: [2, 0, 0, 0, 0, 2],
                source4: source4.parse().unwrap(),
                destination4: "192.0.2.10".parse().unwrap(),
                source6: source6.parse().unwrap(),
                destination6: "2001:db8:2::10".parse().unwrap(),
                port: 30_092,
            };
            let corpora = [corpus::reaching, corpus::reaching_some, corpus::never_reaching];
            for shape in corpora.iter().flat_map(|corpus| corpus(&route)) {
                for frame in &shape.frames {
                    let step = if frame.len() <= SHORT { 1 } else { frame.len() / 40 };
                    for linear in (14..=frame.len()).step_by(step) {
                        comparison.compare(
                            frame,
                            Some(linear),
                            &format!("{name}, {}, split at {linear}", shape.name),
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn model_of_another_policy_is_detected_as_different() {
    let (policies, seed) = (policies(), 1);
    let comparison = Comparison::new(&policies[0].1, fast_path::ALL);
    let mut other = policies[0].1.clone();
    other.databases[0].allow.pop();
    let differing = Frames::new(seed, &other)
        .take(20_000)
        .filter(|frame| comparison.answer(frame, None).reason != decide(&other, frame).reason);
    assert!(differing.count() > 0, "one rule more or less was not noticed");
}
