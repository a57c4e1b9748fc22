//! The report for humans (Markdown) and for programs (JSON), against the target figures.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::cold_start::{DATABASES, MANAGED_PREFIXES};
use super::files::{PREFIXES_OF_RANGE, RANGES, RULES};
use super::overlay::Overlay;
use super::prober::STEADY;
use super::pushes::Series;
use super::{Machine, RESCAN_INTERVAL};

const P50: f64 = 0.5;
const P99: f64 = 0.99;
const MAX: f64 = 1.0;

/// Upper bounds of the measured times, as (quantile, time).
const WITH_EVENTS: &[(f64, Duration)] = &[(P50, Duration::from_millis(5)), (P99, Duration::from_millis(20))];
const WITHOUT_EVENTS: &[(f64, Duration)] = &[(MAX, RESCAN_INTERVAL)];
const COLD_START: &[(f64, Duration)] = &[(MAX, Duration::from_secs(2))];
const BLOCK: &[(f64, Duration)] = &[(P99, Duration::from_millis(20))];
const EXPIRY: &[(f64, Duration)] = &[(MAX, Duration::from_secs(1))];

/// All figures of one run.
#[derive(Debug)]
pub struct Report {
    pub(super) machine: Machine,
    pub(super) with_events: Series,
    pub(super) without_events: Series,
    pub(super) cold_starts: Vec<Duration>,
    pub(super) overlay: Overlay,
}

struct Row<'a> {
    /// The key in JSON.
    key: &'static str,
    what: &'static str,
    times: &'a [Duration],
    bars: &'static [(f64, Duration)],
}

impl Report {
    pub fn markdown(&self) -> String {
        let pushes = self.with_events.added.len() + self.with_events.removed.len();
        let mut text = format!(
            "# From a file to the wire\n\n\
             `cargo xtask bench propagation --pushes {pushes}`, on {}\n\n\
             A push puts a new revision of a database's file in place ({RULES} rules, {RANGES} of them managed ranges \
             of {PREFIXES_OF_RANGE} prefixes), which allows one source more, or one less. Measured is the time from \
             before the file is written and renamed until the sending of the first datagram of that source with \
             the new verdict: one is sent about every quarter of a millisecond, through native XDP on a veth \
             pair, and all of the next {} ms must have the new verdict too. The agent is the release build, no \
             root, with three capabilities. Without file events: the kernel refuses the agent every watch; \
             `rescan_interval` is {} s. Cold start: {DATABASES} databases of {RULES} rules, one of them a managed \
             range of {MANAGED_PREFIXES} prefixes of its own; kernel and state directory are empty; measured until \
             everything is in force and the link attached. Block and withdrawal: the same measurement, from before \
             the command starts, `block SOURCE --for 1h` or `overlay drop`; expiry: from the end of a block.\n\n\
             | what | times | p50 | p99 | max | bar | |\n\
             |---|---:|---:|---:|---:|---|---|\n",
            self.machine.sentence(),
            STEADY.as_millis(),
            RESCAN_INTERVAL.as_secs(),
        );
        for row in self.rows() {
            let [p50, p99, max] = [P50, P99, MAX].map(|share| shown(quantile(row.times, share)));
            let bars = row.bars.iter().map(|(share, bar)| format!("{} ≤ {}", name(*share), round(*bar)));
            let bars = bars.collect::<Vec<_>>().join(", ");
            let times = row.times.len();
            let verdict = if row.is_met() { "met" } else { "**missed**" };
            // Writing to a string does not fail.
            let _ = writeln!(text, "| {} | {times} | {p50} | {p99} | {max} | {bars} | {verdict} |", row.what);
        }
        text
    }

    /// Returns every measured time in microseconds, in order of measurement.
    pub fn json(&self) -> Value {
        let microseconds =
            |times: &[Duration]| -> Vec<u128> { times.iter().map(Duration::as_micros).collect() };
        let times = self.rows().map(|row| {
            let value = json!({ "is_met": row.is_met(), "microseconds": microseconds(row.times) });
            (row.key.to_owned(), value)
        });
        json!({ "machine": self.machine.json(), "times": serde_json::Map::from_iter(times) })
    }

    fn rows(&self) -> [Row<'_>; 8] {
        let row = |key, what, times, bars| Row { key, what, times, bars };
        let (with, without) = (&self.with_events, &self.without_events);
        [
            row("added", "source added", &with.added, WITH_EVENTS),
            row("removed", "source removed", &with.removed, WITH_EVENTS),
            row("added_without_events", "source added, no file events", &without.added, WITHOUT_EVENTS),
            row("removed_without_events", "source removed, no file events", &without.removed, WITHOUT_EVENTS),
            row("cold_start", "cold start", &self.cold_starts, COLD_START),
            row("blocked", "source blocked", &self.overlay.blocked, BLOCK),
            row("dropped", "block withdrawn", &self.overlay.dropped, BLOCK),
            row("expired", "block expired", &self.overlay.expired, EXPIRY),
        ]
    }
}

impl Row<'_> {
    fn is_met(&self) -> bool {
        self.bars.iter().all(|(share, bar)| quantile(self.times, *share).is_some_and(|time| time <= *bar))
    }
}

/// Returns the smallest value that at least this share of the values does not exceed; `None` without values.
fn quantile(values: &[Duration], share: f64) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

fn name(share: f64) -> String {
    if share < MAX { format!("p{:.0}", share * 100.0) } else { "max".to_owned() }
}

fn round(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{} s", time.as_secs())
    }
}

fn shown(time: Option<Duration>) -> String {
    let Some(time) = time else { return "none".to_owned() };
    if time < Duration::from_secs(1) {
        format!("{:.1} ms", time.as_secs_f64() * 1000.0)
    } else {
        format!("{:.3} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_a_value_not_below_its_share() {
        let values: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let cases = [(P50, 100), (P99, 198), (MAX, 200)];
        for (share, expected) in cases {
            assert_eq!(quantile(&values, share), Some(Duration::from_millis(expected)), "{share}");
        }
        assert_eq!(quantile(&values[..1], P50), Some(Duration::from_millis(200)));
        assert_eq!(quantile(&[], MAX), None);
    }

    #[test]
    fn limit_is_met_up_to_its_value_and_never_without_values() {
        let met = |millis: &[u64]| {
            let times: Vec<Duration> = millis.iter().copied().map(Duration::from_millis).collect();
            Row { key: "", what: "", times: &times, bars: WITH_EVENTS }.is_met()
        };
        let cases: [(&[u64], bool); 5] =
            [(&[5, 20], true), (&[6, 20], false), (&[5, 21], false), (&[1], true), (&[], false)];
        for (times, expected) in cases {
            assert_eq!(met(times), expected, "{times:?}");
        }
    }
}
