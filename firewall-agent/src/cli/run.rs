//! `firewall-agent run`.

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigHandler, Signal, signal};
use tracing::warn;

use super::log::{self, LogFormat};
use super::{Exit, settings::Settings};
use crate::agent::{Agent, Signals};
use crate::config::ConfigFile;
use crate::host::allocator::return_freed_memory;
use crate::host::limits::raise_open_files;

pub(super) fn run(settings: Settings, flags: ConfigFile, format: LogFormat) -> Result<Exit> {
    let warnings = settings.warnings.clone();
    let config = settings.config(flags)?;
    let _log = log::start(format, &config.state_dir)?;
    ignore_signals()?;
    return_freed_memory();
    if let Err(error) = raise_open_files() {
        warn!(error = format!("{error:#}"), "limit of open files not raised");
    }
    for warning in &warnings {
        warn!(warning, "configuration warning");
    }
    if config.guarded_ports.is_empty() {
        warn!("guarded_ports is empty: a port is open to everyone until a rule file claims it");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        // Before the start reports anything: an agent whose status is there ends in order.
        let signals = Signals::receive()?;
        Agent::start(config)?.run(signals).await
    })?;
    Ok(Exit::Done)
}

/// Ignores signals that end a process by default and that mean nothing to the daemon. SIGHUP gets its meaning later.
fn ignore_signals() -> Result<()> {
    for name in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
        // SAFETY: a signal that is ignored runs no code.
        unsafe { signal(name, SigHandler::SigIgn) }.with_context(|| format!("cannot ignore {name}"))?;
    }
    Ok(())
}
