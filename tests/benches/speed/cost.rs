//! Comparison of programs side by side on a machine with other load.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::run::Pinned;

/// Packets in one slice; a short slice limits the disturbance by other load.
pub const SLICE: u32 = 200_000;
pub const SLICES: u32 = 3;
pub const ROUNDS: usize = 7;

/// A program and its frame.
pub struct Contender<'a> {
    pub name: &'static str,
    pub program: &'a Pinned,
    pub frame: &'a [u8],
}

/// Pins this thread to one core; returns the core.
pub fn pin_to_a_core() -> usize {
    let core = std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1);
    let mut set = CpuSet::new();
    set.set(core).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
    core
}

/// Returns nanoseconds per packet for each contender and round: the minimum of a few slices; the contenders alternate
/// in every round.
pub fn rounds(contenders: &[Contender<'_>]) -> Vec<Vec<f64>> {
    let mut costs = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for (contender, costs) in contenders.iter().zip(&mut costs) {
            let slice = |_| contender.program.time(contender.frame, SLICE);
            costs.push((0..SLICES).map(slice).fold(f64::INFINITY, f64::min));
        }
    }
    costs
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
