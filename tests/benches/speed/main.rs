//! Benchmarks of packets, floods and publishes on the real kernel: run by `cargo xtask bench`, never by a test.
//!
//! `speed PART DIRECTORY` measures and writes the figures to the directory; `speed propagation DIRECTORY PUSHES` makes
//! so many pushes; `speed packet DIRECTORY FILE` and `speed flood DIRECTORY FILE` compare with the figures in the file.
//! Ends with [`NOISY`] when the figures are too noisy to judge by.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot be made ends with a panic")]

mod baseline;
mod before;
#[path = "../../tests/support/bpf.rs"]
mod bpf;
mod burden;
mod cost;
mod flood;
mod packet;
mod plot;
mod profile;
mod rights;
mod rules;
mod run;
mod scale;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use before::Before;
use firewall_tests::bench::{NOISY, propagation};
use firewall_tests::lab::agent_binary;

use firewall_tests::bench::{say, write_report};

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [part, directory, options @ ..] = arguments.as_slice() else {
        bail!("{arguments:?}: not PART DIRECTORY")
    };
    let directory = Path::new(directory);
    match (part.as_str(), options) {
        ("packet" | "flood", [] | [_]) => {
            let before = |list| options.first().map(|path| Before::read(Path::new(path), list)).transpose();
            let is_quiet = if part == "packet" {
                packet::measure(directory, before("by_size")?)?
            } else {
                flood::measure(directory, before("costs")?)?
            };
            return Ok(if is_quiet { ExitCode::SUCCESS } else { ExitCode::from(NOISY) });
        }
        ("propagation", [pushes]) => measure_propagation(directory, pushes),
        ("profile", []) => profile::measure(directory),
        ("burden", []) => burden::measure(directory),
        ("baseline", []) => baseline::measure(directory),
        ("scale", []) => scale::measure(directory),
        (part, options) => bail!("{part:?} {options:?}: not a part with its options"),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn measure_propagation(directory: &Path, pushes: &str) -> Result<()> {
    let pushes = pushes.parse().with_context(|| format!("{pushes:?}: not a number of pushes"))?;
    let report = propagation::measure(&agent_binary()?, pushes, &mut say)?;
    write_report(directory, "propagation", &report.markdown(), &report.json())
}
