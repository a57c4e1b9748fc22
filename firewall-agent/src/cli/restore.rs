//! `firewall-agent restore`.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::log::{self, LogFormat};
use super::{Exit, settings::Settings};
use crate::agent::Agent;
use crate::config::ConfigFile;

pub(super) fn restore(settings: Settings, wait: Duration, out: &mut impl Write) -> Result<Exit> {
    let _log = log::start(LogFormat::default())?;
    let restored = Agent::start(settings.config(ConfigFile::default())?)?.restore(wait);
    let problems: Vec<String> = restored.not_filtered.into_iter().chain(restored.not_in_force).collect();
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    writeln!(out, "{}", restored.summary)?;
    Ok(Exit::Done)
}
