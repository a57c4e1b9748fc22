//! `firewall-agent restore`.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;

use super::log::{self, LogFormat};
use super::{Exit, settings::Settings};
use crate::agent::Agent;
use crate::config::ConfigFile;

pub(super) fn restore(settings: Settings, wait: Duration, out: &mut impl Write) -> Result<Exit> {
    let _log = log::start(LogFormat::default())?;
    let done = Agent::start(settings.config(ConfigFile::default())?)?.restore(wait)?;
    writeln!(out, "{done}")?;
    Ok(Exit::Done)
}
