//! `cargo xtask test`: all checks that must pass before a change lands.

use anyhow::Result;

use crate::prepare::prepare;
use crate::run::reported;
use crate::workspace::Workspace;
use crate::{artefacts, boot, cluster, fuzz, kernels, kubectl, python, suites, tidy, traffic};

/// Seconds of fuzzing for each target, by default and with `--full`.
const FUZZ: u32 = 5;
const FUZZ_FULL: u32 = 600;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Also run the long tests: a thousand kills, a hundred upgrades, ten minutes of fuzzing for each target, the
    /// traffic of every tool, the tests in other kernels, the manifests on a cluster, boots of Debian with the package
    #[arg(long)]
    full: bool,
}

pub fn test(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    prepare(workspace, "test", &[])?;
    python::ensure_validators(workspace)?;
    kubectl::ensure_kubectl(workspace)?;
    if arguments.full {
        traffic::ensure_tools(workspace)?;
    }
    artefacts::for_tests(workspace)?;
    let mut variables = Vec::from_iter(suites::threads());
    if arguments.full {
        variables.push(("FIREWALL_TESTS", "full".to_owned()));
    }
    // The tests often wait and leave the CPU idle.
    let mut ahead = tidy::lint_ahead(workspace)?;
    if !arguments.full {
        ahead.push(fuzz::build_ahead(workspace)?);
    }
    let tests = reported(suites::run_all(workspace, &variables));
    for child in &mut ahead {
        child.wait()?;
    }
    let seconds = if arguments.full { FUZZ_FULL } else { FUZZ };
    let fuzz = reported(fuzz::fuzz_all(workspace, seconds, !arguments.full));
    let full = |check: fn(&Workspace) -> Result<()>| {
        if arguments.full { reported(check(workspace)) } else { Ok(()) }
    };
    let machines = [kernels::check, cluster::check, boot::check].map(full);
    let tidy = tidy::tidy(workspace);
    tests?;
    machines.into_iter().fold(fuzz, Result::and).and(tidy)
}
