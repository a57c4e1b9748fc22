//! Benchmarks of packets, floods and publishes on the real kernel: run by `cargo xtask bench`, never by a test.
//!
//! `speed PART DIRECTORY` measures and writes the figures to the directory.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot be made ends with a panic")]

mod baseline;
#[path = "../../tests/support/bpf.rs"]
mod bpf;
mod burden;
mod cost;
mod flood;
mod output;
mod packet;
mod plot;
mod process;
mod rights;
mod rules;
mod run;
mod scale;

use std::path::PathBuf;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [part, directory] = arguments.as_slice() else { bail!("{arguments:?}: not PART DIRECTORY") };
    let directory = PathBuf::from(directory);
    match part.as_str() {
        "packet" => packet::measure(&directory),
        "burden" => burden::measure(&directory),
        "baseline" => baseline::measure(&directory),
        "flood" => flood::measure(&directory),
        "scale" => scale::measure(&directory),
        other => bail!("{other:?}: not a part"),
    }
}
