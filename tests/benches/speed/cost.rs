//! Comparison of programs side by side on a machine with other load: pairs of short slices, one of the compared program
//! and one of its base, and the ratio of each pair.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::run::Pinned;

/// Packets in one slice: few milliseconds, so that a pair meets the same load.
pub const SLICE: u32 = 60_000;
pub const PAIRS: usize = 21;
/// A wider 95 % interval than this share of the median is too noisy to judge a bar by.
const TOO_WIDE: f64 = 0.15;

/// A program and its frame.
pub struct Contender<'a> {
    pub name: &'static str,
    pub program: &'a Pinned,
    pub frame: &'a [u8],
    /// A program whose cost beyond the empty one is not the contender's own: that of changing the source.
    pub beside: Option<&'a Pinned>,
}

/// One measurement of a contender, in nanoseconds per packet.
#[derive(Clone, Copy)]
pub struct Pair {
    pub cost: f64,
    /// Of the empty program, just before.
    pub empty: f64,
}

/// A median, and the interval that contains the true median with 95 % probability, by the order of the values alone.
#[derive(Clone, Copy)]
pub struct Estimate {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Estimate {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        // The number of values below the median has a binomial distribution; 0.98 is half of 1.96.
        let count = sorted.len() as f64;
        let below = (count / 2.0 - 0.98 * count.sqrt()).floor().max(0.0) as usize;
        Self { low: sorted[below], median: sorted[sorted.len() / 2], high: sorted[sorted.len() - 1 - below] }
    }

    pub fn is_noisy(&self) -> bool {
        self.high - self.low > TOO_WIDE * self.median
    }

    /// Returns in words whether the median is at most a bar, and whether the interval leaves a doubt.
    pub fn at_most(&self, bar: f64) -> &'static str {
        Self::judged(self.high <= bar, self.low > bar)
    }

    /// The same, of a lower bar.
    pub fn at_least(&self, bar: f64) -> &'static str {
        Self::judged(self.low >= bar, self.high < bar)
    }

    fn judged(is_met: bool, is_missed: bool) -> &'static str {
        match (is_met, is_missed) {
            (true, _) => "met",
            (_, true) => "**missed**",
            _ => "undecided",
        }
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.2} ({:.2}–{:.2})", self.median, self.low, self.high)
    }
}

/// Pins this thread to one core; returns the core.
pub fn pin_to_a_core() -> usize {
    let core = std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1);
    let mut set = CpuSet::new();
    set.set(core).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
    core
}

/// Measures each contender in [`PAIRS`] pairs with the empty program; the contenders take turns.
pub fn pairs(empty: &Pinned, contenders: &[Contender<'_>]) -> Vec<Vec<Pair>> {
    let mut pairs = vec![Vec::with_capacity(PAIRS); contenders.len()];
    let calls: Vec<[f64; 3]> = contenders
        .iter()
        .map(|one| [empty, one.program, one.beside.unwrap_or(empty)].map(|program| program.call(one.frame)))
        .collect();
    for _ in 0..PAIRS {
        for ((one, calls), pairs) in contenders.iter().zip(&calls).zip(&mut pairs) {
            let empty = empty.time(one.frame, SLICE, calls[0]);
            let beside = one.beside.map_or(0.0, |program| program.time(one.frame, SLICE, calls[2]) - empty);
            let cost = one.program.time(one.frame, SLICE, calls[1]) - beside;
            pairs.push(Pair { cost, empty });
        }
    }
    pairs
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    Estimate::of(values).median
}
