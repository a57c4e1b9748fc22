//! Benchmarks of packets, floods and publishes on the real kernel: run by `cargo xtask bench`, never by a test.
//!
//! `speed PART DIRECTORY` measures and writes the figures to the directory; `speed propagation DIRECTORY PUSHES` makes
//! so many pushes.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot be made ends with a panic")]

mod baseline;
#[path = "../../tests/support/bpf.rs"]
mod bpf;
mod burden;
mod cost;
mod flood;
mod packet;
mod plot;
mod rights;
mod rules;
mod run;
mod scale;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use firewall_tests::bench::propagation;
use firewall_tests::lab::agent_binary;

use firewall_tests::bench::{say, write_report};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [part, directory, options @ ..] = arguments.as_slice() else {
        bail!("{arguments:?}: not PART DIRECTORY")
    };
    let directory = Path::new(directory);
    match (part.as_str(), options) {
        ("propagation", [pushes]) => measure_propagation(directory, pushes),
        ("packet", []) => packet::measure(directory),
        ("burden", []) => burden::measure(directory),
        ("baseline", []) => baseline::measure(directory),
        ("flood", []) => flood::measure(directory),
        ("scale", []) => scale::measure(directory),
        (part, options) => bail!("{part:?} {options:?}: not a part with its options"),
    }
}

fn measure_propagation(directory: &Path, pushes: &str) -> Result<()> {
    let pushes = pushes.parse().with_context(|| format!("{pushes:?}: not a number of pushes"))?;
    let report = propagation::measure(&agent_binary()?, pushes, &mut say)?;
    write_report(directory, "propagation", &report.markdown(), &report.json())
}
