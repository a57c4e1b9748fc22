//! `cargo xtask bench`: measures the agent's release on throw-away hosts and stores the figures in `bench/`.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use firewall_tests::bench::NOISY;
use firewall_tests::lab::contained;
use xshell::cmd;

use crate::debian::Package;
use crate::prepare::prepare;
use crate::workspace::Workspace;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Measure the time from a file's rename to the first packet with the new verdict, with and without file events, and at a cold start
    Propagation {
        /// Pushes with file events; half of them add a source, half remove it
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
        pushes: u32,
    },
    /// Measure the cost of one packet, from 1 to 100,000 CIDRs and 1 to 256 endpoints, and the gain of each acceleration; exit code 3: too noisy to judge by
    Packet(Compared),
    /// Sample the functions that a packet spends its time in
    Profile,
    /// Compare a flood of denied packets with nftables, iptables and an empty XDP program; exit code 3: too noisy to judge by
    Flood(Compared),
    /// Run pgbench with the firewall and without, also during a flood
    Baseline,
    /// Measure a publish, from 30 to 100,000 CIDRs and 1 to 1,000 databases, one change beside many databases, and the agent at rest
    Scale,
    /// Compare a host with a past, with databases without room or with many interfaces, with one without, pair by pair
    Burden,
}

/// The figures to compare a measurement with.
#[derive(Debug, Args)]
struct Compared {
    /// Raw figures (`*.json`) of an earlier run, to show beside the new ones
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// Packages of the programs to compare with, and to profile.
const TOOLS: &[Package<'_>] = &[
    ("ipset", &["ipset"]),
    ("iptables", &["iptables-legacy"]),
    ("linux-perf", &["perf"]),
    ("postgresql", &["pgbench"]),
];

/// The figures of a benchmark are too noisy to judge by.
#[derive(Debug)]
pub struct TooNoisy;

impl fmt::Display for TooNoisy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("bench: too noisy to judge by; the figures are written all the same")
    }
}

impl Error for TooNoisy {}

/// Runs one part of the bench target of `firewall-tests`. Missed targets are reported; they are no error.
///
/// # Errors
/// [`TooNoisy`], or when the measurement failed.
pub fn bench(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let file = |compared: &Compared| -> Result<Option<String>> {
        let Some(path) = &compared.baseline else { return Ok(None) };
        let path = path.canonicalize().with_context(|| format!("--baseline {}", path.display()))?;
        Ok(Some(path.display().to_string()))
    };
    let (part, option) = match &arguments.bench {
        Bench::Propagation { pushes } => ("propagation", Some(pushes.to_string())),
        Bench::Packet(compared) => ("packet", file(compared)?),
        Bench::Flood(compared) => ("flood", file(compared)?),
        Bench::Profile => ("profile", None),
        Bench::Baseline => ("baseline", None),
        Bench::Scale => ("scale", None),
        Bench::Burden => ("burden", None),
    };
    prepare(workspace, "bench", TOOLS)?;
    let (sh, figures) = (&workspace.shell, workspace.root.join("bench"));
    cmd!(sh, "cargo bench -p firewall-tests --bench speed --no-run").run()?;
    workspace.release_agent()?;
    let measured = cmd!(sh, "cargo bench -p firewall-tests --bench speed -- {part} {figures} {option...}");
    match contained(&mut measured.into())?.code() {
        Some(0) => Ok(()),
        Some(code) if code == i32::from(NOISY) => Err(TooNoisy.into()),
        _ => bail!("bench: the measurement failed"),
    }
}
