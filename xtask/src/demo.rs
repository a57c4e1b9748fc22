//! `cargo xtask demo`: builds the agent and runs the demo.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use firewall_tests::demo::{narrate, pictures};
use firewall_tests::lab::contained;
use xshell::cmd;

use crate::prepare::prepare;
use crate::workspace::Workspace;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Play the scenario with this program, in the processes that started for it
    #[arg(long, hide = true)]
    play: Option<PathBuf>,
    /// Draw the output of the commands into this directory, as SVG, instead of playing the scenario
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "docs/pictures")]
    pictures: Option<PathBuf>,
}

pub fn demo(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if let Some(agent) = &arguments.play {
        return match &arguments.pictures {
            Some(dir) => pictures(agent, dir),
            None => narrate(agent),
        };
    }
    prepare(workspace, "demo", &[])?;
    let agent = workspace.release_agent()?;
    let itself = std::env::current_exe().context("demo: cannot find the path of this program")?;
    let mut play = cmd!(workspace.shell, "{itself} demo --play {agent}");
    if let Some(dir) = &arguments.pictures {
        play = play.arg("--pictures").arg(workspace.root.join(dir));
    }
    let status = contained(&mut play.into())?;
    ensure!(status.success(), "demo: a step did not give the stated result");
    Ok(())
}
