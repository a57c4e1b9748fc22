//! `cargo xtask soak`: pushes, faults and traffic for hours on one host, with the release of the agent.

use anyhow::{Result, ensure};
use clap::Args;
use firewall_tests::lab::contained;
use xshell::cmd;

use crate::debian::Package;
use crate::prepare::prepare;
use crate::workspace::Workspace;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Duration in hours: 0.1 is six minutes
    #[arg(long, value_name = "HOURS", default_value_t = 1.0, value_parser = hours)]
    hours: f64,
    /// Repeat the random choices of an earlier run
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

const CLIENTS: &[Package<'_>] = &[("postgresql", &["pgbench"])];

fn hours(text: &str) -> Result<f64, String> {
    let hours: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if hours.is_finite() && hours > 0.0 {
        Ok(hours)
    } else {
        Err("not a positive number of hours".to_owned())
    }
}

/// Fails if anything leaked, was lost, or did not recover.
pub fn soak(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    prepare(workspace, "soak", CLIENTS)?;
    let (sh, figures) = (&workspace.shell, workspace.root.join("bench"));
    cmd!(sh, "cargo bench -p firewall-tests --bench soak --no-run").run()?;
    workspace.release_agent()?;
    let hours = arguments.hours.to_string();
    let seed = arguments.seed.map(|seed| seed.to_string());
    let soak = cmd!(sh, "cargo bench -p firewall-tests --bench soak -- {hours} {figures} {seed...}");
    ensure!(contained(&mut soak.into())?.success(), "soak: a promise did not hold");
    Ok(())
}
