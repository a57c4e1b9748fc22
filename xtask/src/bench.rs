//! `cargo xtask bench`: builds the agent's release, measures it, and stores the figures in `bench/`.

use std::io::{Write as _, stdout};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use firewall_tests::bench::propagation::{Report, measure};
use firewall_tests::lab::contained;
use fs_err as fs;
use xshell::cmd;

use crate::debian::Package;
use crate::prepare::prepare;
use crate::run::say;
use crate::workspace::Workspace;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Measure the time from a file's rename to the first packet with the new verdict, with and without file events, and at a cold start
    Propagation(Propagation),
    /// Measure the cost of one packet, from 1 to 100,000 CIDRs and 1 to 256 endpoints, and the gain of each stage
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

/// Packages that the other benchmarks need besides those of the tests.
const OPPONENTS: &[Package<'_>] =
    &[("ipset", &["ipset"]), ("iptables", &["iptables-legacy"]), ("postgresql", &["pgbench"])];

#[derive(Debug, Args)]
struct Propagation {
    /// Pushes with file events; half of them add a source, half remove it
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    pushes: u32,
    /// Measure this program, in the processes that started for it
    #[arg(long, hide = true)]
    play: Option<PathBuf>,
}

/// Runs a benchmark. Missed targets are reported; they are no error.
pub fn bench(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let part = match &arguments.bench {
        Bench::Propagation(arguments) => return propagation(workspace, arguments),
        Bench::Packet => "packet",
        Bench::Flood => "flood",
        Bench::Baseline => "baseline",
        Bench::Scale => "scale",
        Bench::Burden => "burden",
    };
    speed(workspace, part)
}

/// Runs one part of the bench target of `firewall-tests` that queries the kernel directly.
fn speed(workspace: &Workspace, part: &str) -> Result<()> {
    prepare(workspace, "bench", OPPONENTS)?;
    let (sh, figures) = (&workspace.shell, workspace.root.join("bench"));
    cmd!(sh, "cargo bench -p firewall-tests --bench speed --no-run").run()?;
    workspace.release_agent()?;
    let measured = cmd!(sh, "cargo bench -p firewall-tests --bench speed -- {part} {figures}");
    ensure!(contained(&mut measured.into())?.success(), "bench: the measurement failed");
    Ok(())
}

fn propagation(workspace: &Workspace, propagation: &Propagation) -> Result<()> {
    if let Some(agent) = &propagation.play {
        let pushes = usize::try_from(propagation.pushes)?;
        let report = measure(agent, pushes, &mut |begins| say(format_args!("{begins}")))?;
        return save(workspace, "propagation", &report);
    }
    prepare(workspace, "bench", &[])?;
    let agent = workspace.release_agent()?;
    let itself = std::env::current_exe().context("bench: cannot find the path of this program")?;
    let pushes = propagation.pushes.to_string();
    let inner = cmd!(workspace.shell, "{itself} bench propagation --pushes {pushes} --play {agent}");
    ensure!(contained(&mut inner.into())?.success(), "bench: the measurement failed");
    Ok(())
}

fn save(workspace: &Workspace, name: &str, report: &Report) -> Result<()> {
    let (table, raw) = (report.markdown(), format!("{:#}\n", report.json()));
    // A closed terminal must not lose the figures.
    let _ = write!(stdout(), "{table}");
    let dir = workspace.root.join("bench");
    fs::create_dir_all(&dir)?;
    for (extension, text) in [("md", table), ("json", raw)] {
        let path = dir.join(name).with_extension(extension);
        fs::write(&path, text)?;
    }
    Ok(())
}
