//! `firewall-agent run`.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result};
use tracing::warn;
use tracing_subscriber::EnvFilter;

use super::{Exit, settings::Settings};
use crate::agent::Agent;
use crate::config::ConfigFile;

pub(super) fn run(settings: Settings, flags: ConfigFile) -> Result<Exit> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    for warning in &settings.warnings {
        warn!(warning, "configuration");
    }
    let config = settings.config(flags)?;
    if config.guarded_ports.is_empty() {
        warn!("guarded_ports is empty: a port is open to everyone until a rule file claims it");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let agent = Agent::start(config)?;
    runtime.block_on(agent.run())?;
    Ok(Exit::Done)
}
