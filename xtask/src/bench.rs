//! `cargo xtask bench`: measures the agent's release on throw-away hosts and stores the figures in `bench/`.

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
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
    /// Measure the cost of one packet, from 1 to 100,000 CIDRs and 1 to 256 endpoints, and the gain of each acceleration
    Packet,
    /// Compare a flood of denied packets with nftables, iptables and an empty XDP program
    Flood,
    /// Run pgbench with the firewall and without, also during a flood
    Baseline,
    /// Measure a publish, from 30 to 100,000 CIDRs and 1 to 1,000 databases, and the agent at rest
    Scale,
    /// Compare a host with a past, with databases without room or with many interfaces, with one without, pair by pair
    Burden,
}

/// Packages of the programs to compare with.
const OPPONENTS: &[Package<'_>] =
    &[("ipset", &["ipset"]), ("iptables", &["iptables-legacy"]), ("postgresql", &["pgbench"])];

/// Runs one part of the bench target of `firewall-tests`. Missed targets are reported; they are no error.
pub fn bench(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let (part, pushes) = match &arguments.bench {
        Bench::Propagation { pushes } => ("propagation", Some(pushes.to_string())),
        Bench::Packet => ("packet", None),
        Bench::Flood => ("flood", None),
        Bench::Baseline => ("baseline", None),
        Bench::Scale => ("scale", None),
        Bench::Burden => ("burden", None),
    };
    prepare(workspace, "bench", OPPONENTS)?;
    let (sh, figures) = (&workspace.shell, workspace.root.join("bench"));
    cmd!(sh, "cargo bench -p firewall-tests --bench speed --no-run").run()?;
    workspace.release_agent()?;
    let measured = cmd!(sh, "cargo bench -p firewall-tests --bench speed -- {part} {figures} {pushes...}");
    ensure!(contained(&mut measured.into())?.success(), "bench: the measurement failed");
    Ok(())
}
