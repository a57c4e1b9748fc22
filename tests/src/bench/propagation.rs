//! Time from a pushed file to the first packet with the new verdict: with and without file events, and on a cold start;
//! the same for entries of the overlay.

mod cold_start;
pub mod files;
mod overlay;
mod prober;
mod pushes;
mod refused_watches;
mod report;

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::machine::Machine;
pub use prober::Prober;
pub use pushes::{Wire, pause, stage};
pub use report::Report;

/// The agent's default `rescan_interval`.
const RESCAN_INTERVAL: Duration = Duration::from_secs(10);
/// Pushes that wait for a rescan take much longer, which is why there are fewer of them.
const PUSHES_FOR_EACH_WITHOUT_EVENTS: usize = 50;
const FEWEST_WITHOUT_EVENTS: usize = 6;
const COLD_STARTS: usize = 3;
/// A block and its withdrawal take two commands, a push none.
const PUSHES_FOR_EACH_BLOCK: usize = 2;
const EXPIRIES: usize = 10;

/// Measures the agent at this path with `pushes` pushes, half of them additions and half removals, and reports each
/// phase to `watch`. Needs root; leaves nothing behind.
pub fn measure(agent: &Path, pushes: usize, watch: &mut dyn FnMut(&str)) -> Result<Report> {
    let machine = Machine::detect()?;
    watch(&format!("{pushes} pushes with file events"));
    let with_events = pushes::series(agent, pushes, Duration::ZERO)?;
    let fewer = (pushes / PUSHES_FOR_EACH_WITHOUT_EVENTS).max(FEWEST_WITHOUT_EVENTS);
    watch(&format!("{fewer} pushes without file events, about {} s each", RESCAN_INTERVAL.as_secs()));
    let without_events = without_events(agent, fewer)?;
    watch(&format!("{COLD_STARTS} cold starts with {} databases", cold_start::DATABASES));
    let cold_starts = (0..COLD_STARTS).map(|_| cold_start::cold_start(agent)).collect::<Result<_>>()?;
    let blocks = pushes.div_ceil(PUSHES_FOR_EACH_BLOCK);
    watch(&format!("{blocks} blocks and their withdrawal, and {EXPIRIES} that expire"));
    let overlay = overlay::series(agent, blocks, EXPIRIES)?;
    Ok(Report { machine, with_events, without_events, cold_starts, overlay })
}

/// Runs in its own thread: a thread cannot remove its seccomp filter, which therefore ends with the series.
fn without_events(agent: &Path, pushes: usize) -> Result<pushes::Series> {
    thread::scope(|scope| {
        let series = scope.spawn(|| {
            refused_watches::refuse()?;
            pushes::series(agent, pushes, RESCAN_INTERVAL)
        });
        series.join().map_err(|_| anyhow!("pushes without file events: their thread panicked"))?
    })
}
