//! Restores the last good state without a daemon: for a unit ordered before the network.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::interfaces::Interfaces;
use super::{Agent, fail_closed};
use crate::bpf::{Pins, socket_filter_runs};
use crate::config::{Config, SocketFilterMode};
use crate::files::lock::Lock;

/// Time between two checks for interfaces that are not filtered yet.
const PAUSE: Duration = Duration::from_millis(100);

/// Result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// One line for the operator.
    pub summary: String,
    /// Configured interfaces that are not filtered, and a socket filter that should enforce and does not run, each with its
    /// reason.
    pub not_filtered: Vec<String>,
    /// Databases without capacity, unused stored records and similar; everything else is in force.
    pub not_in_force: Vec<String>,
}

impl Restored {
    fn complete(summary: String) -> Self {
        Self { summary, not_filtered: Vec::new(), not_in_force: Vec::new() }
    }

    /// The summary of a complete restore.
    ///
    /// # Errors
    /// Everything that is not filtered or not in force.
    pub fn ensure_complete(self) -> Result<String> {
        let incomplete = [self.not_filtered, self.not_in_force].concat();
        ensure!(incomplete.is_empty(), "{}", incomplete.join("; "));
        Ok(self.summary)
    }
}

/// Publishes the last good state and attaches, waiting up to `patience` for interfaces and the socket filter. Where an
/// agent already runs, waits until that agent filters every configured interface that is present, and the sockets.
///
/// # Errors
/// No agent runs and a start fails, as [`Agent::start`] does.
pub fn restore(config: &Config, patience: Duration) -> Result<Restored> {
    let started = Instant::now();
    loop {
        if let Some(owner) = Lock::owner(&config.state_dir) {
            let restored = restored_by(owner, config)?;
            if restored.not_filtered.is_empty() || started.elapsed() >= patience {
                return Ok(restored);
            }
            sleep(PAUSE);
            continue;
        }
        match Agent::start(config.clone()) {
            Ok(agent) => return Ok(agent.restore(patience.saturating_sub(started.elapsed()))),
            // An agent was started at the same moment.
            Err(_) if Lock::owner(&config.state_dir).is_some() => {}
            Err(error) => return Err(error),
        }
    }
}

/// State of the host under a running agent, the process `owner`.
fn restored_by(owner: u32, config: &Config) -> Result<Restored> {
    if fail_closed::is_detached(config) {
        return Ok(Restored::complete(format!(
            "nothing is attached: detached by an operator, until `attach` (agent {owner} runs)"
        )));
    }
    let mut interfaces = Interfaces::new(&config.interfaces, config.xdp_mode)?;
    let pins = Pins::new(&config.bpffs_dir);
    let names = interfaces.unfiltered(&pins)?;
    let unfiltered = names.iter().map(|name| format!("interface {name}: not filtered by agent {owner}"));
    let is_open = config.socket_filter == SocketFilterMode::Enforce && !socket_filter_runs(&pins)?;
    let sockets = is_open.then(|| format!("socket filter: not attached by agent {owner}"));
    let mut restored = Restored::complete(format!(
        "agent {owner} runs and filters every configured interface that is present"
    ));
    restored.not_filtered = unfiltered.chain(sockets).collect();
    Ok(restored)
}

impl Agent {
    /// Waits up to `patience` until every configured interface is present and filtered, and the sockets are, and ends.
    fn restore(mut self, patience: Duration) -> Restored {
        let detached = self.reconciler.detached();
        let started = Instant::now();
        let is_open = |agent: &Self| {
            agent.interfaces.errors().next().is_some() || agent.socket_filter.unfiltered().is_some()
        };
        while detached.is_none() && is_open(&self) && started.elapsed() < patience {
            sleep(PAUSE);
            self.interfaces.changed();
            self.socket_filter.changed();
            self.attach_interfaces(Instant::now());
        }
        self.write_status();
        if let Some(since) = detached {
            return Restored::complete(format!(
                "nothing is attached: detached by an operator since {since:.0}, until `attach`"
            ));
        }
        let attached: Vec<&str> = self.interfaces.attached().map(String::as_str).collect();
        let (live, conditions) = (&self.reconciler.live, &self.reporter.conditions);
        Restored {
            summary: format!(
                "in force: {} databases at generation {}; filtered: {}",
                live.databases.len(),
                live.generation,
                attached.join(", ")
            ),
            not_filtered: conditions.unfiltered(),
            not_in_force: conditions.incomplete(),
        }
    }
}
