//! `firewall-agent restore`.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail};

use super::exit::NotAllInForce;
use super::log::{self, LogFormat};
use super::{Exit, settings::Settings};
use crate::agent;
use crate::config::ConfigFile;
use crate::host::limits::raise_open_files;

pub(super) fn restore(settings: Settings, wait: Duration, out: &mut impl Write) -> Result<Exit> {
    let config = settings.config(ConfigFile::default())?;
    let _log = log::start(LogFormat::default(), &config.state_dir)?;
    // A failure must not leave the host open.
    let _ = raise_open_files();
    let restored = agent::restore(&config, wait)?;
    let incomplete = [restored.not_filtered.as_slice(), &restored.not_in_force].concat().join("; ");
    if !restored.not_filtered.is_empty() {
        bail!(incomplete);
    }
    writeln!(out, "{}", restored.summary)?;
    if !restored.not_in_force.is_empty() {
        return Err(NotAllInForce(incomplete).into());
    }
    Ok(Exit::Done)
}
