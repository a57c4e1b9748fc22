//! The loop that joins files, rules, sync and kernel.

mod background;
mod backoff;
mod closed;
mod control;
mod deferred;
#[cfg(test)]
mod fleet;
mod host;
mod intake;
mod interfaces;
mod journal;
mod keeper;
mod ledger;
mod machine;
mod packet_log;
mod probes;
mod repairs;
mod report;
mod restore;
mod run;
mod taken;
mod trust;
mod upkeep;
mod verbs;
mod web;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use tracing::{error, info, warn};

pub use self::control::{Reply, Verb, ask};
pub use self::host::Host;
use self::interfaces::Interfaces;
use self::journal::Journal;
use self::keeper::Keeper;
use self::machine::Moment;
use self::packet_log::Telling;
use self::probes::Probes;
use self::repairs::Repairs;
pub use self::report::{counters, report};
pub use self::taken::Taken;
use crate::bpf::{Anchors, Capacity, Owned, Pins, Programs, all_run, other_layouts, remove_other_layouts};
use crate::config::Config;
use crate::files::lock::Lock;
use crate::http::Board;
use crate::status::Status;
use crate::sync::DataPlane as _;

/// The right to change one host's state, on disk and in the kernel.
#[derive(Debug)]
pub struct Ownership {
    _state: Lock,
    pins: Owned,
}

impl Ownership {
    /// Becomes the only owner.
    ///
    /// # Errors
    /// When another process is it, or the directories are not usable.
    pub fn take(config: &Config) -> Result<Self> {
        let state = Lock::take(&config.state_dir)?;
        let pins = Pins::new(&config.bpffs_dir);
        pins.create()?;
        Ok(Self { _state: state, pins: pins.own()? })
    }
}

/// The daemon.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    pins: Pins,
    programs: Programs,
    telling: Telling,
    interfaces: Interfaces,
    keeper: Keeper,
    ownership: Ownership,
    anchors: Anchors,
    repairs: Repairs,
    probes: Probes,
    looked_after: Instant,
    /// How often the kernel was looked after.
    looks: usize,
    board: Arc<Board>,
}

impl Agent {
    /// Takes over what is pinned and what is stored, brings the kernel to the files, and then attaches: no packet
    /// meets an empty map.
    ///
    /// # Errors
    /// When another agent runs, a directory or pin is not usable, or the kernel refuses the programs. Unless another
    /// agent runs, what was open is then closed as far as the configuration says what is guarded.
    pub fn start(config: Config) -> Result<Self> {
        Self::take_over(config.clone()).map_err(|error| closed::close(&config, error))
    }

    fn take_over(config: Config) -> Result<Self> {
        let ownership = Ownership::take(&config)?;
        let pins = Pins::new(&config.bpffs_dir);
        let mut programs = Programs::load(&pins, Capacity::for_databases(config.max_databases))?;
        let host = Host::open(&config)?;
        let slots = host.kernel.capacity().0;
        if slots != config.max_databases {
            warn!(slots, config.max_databases, "the pinned maps keep their size until they are made anew");
        }
        let (databases, generation) = (host.live.databases.len(), host.live.generation);
        info!(databases, generation, stored = host.taken.admitted.len(), "programs loaded, state taken over");
        let anchors = Anchors::new(&pins, &mut programs)?;
        let others = other_layouts(&pins)?;
        for layout in &others {
            let known = host.ensure_known_from(layout);
            known.with_context(|| format!("{}: stays in force, and is not taken over", layout.display()))?;
        }
        let board = Arc::new(Board::new(config.propagation_window));
        let journal = Journal::new(&config, &host, Arc::clone(&board));
        let mut agent = Self {
            interfaces: Interfaces::new(&config.interfaces, config.xdp_mode)?,
            keeper: Keeper::new(&config, host, journal, Moment::now()?),
            config,
            pins,
            programs,
            telling: Telling::default(),
            ownership,
            anchors,
            repairs: Repairs::default(),
            probes: Probes::default(),
            looked_after: Instant::now(),
            looks: 0,
            board,
        };
        agent.keeper.host.keeps = !others.is_empty();
        agent.rescan();
        agent.programs.pin(&agent.pins)?;
        if !others.is_empty() {
            let undone: Vec<&str> = agent.keeper.journal.unfinished().map(String::as_str).collect();
            ensure!(
                undone.is_empty(),
                "another map layout stays in force, and is not taken over: {}",
                undone.join("; ")
            );
        }
        agent.look_at_interfaces(Instant::now());
        if !others.is_empty() && all_run(&agent.pins, agent.programs.id()?)? {
            remove_other_layouts(&agent.pins)?;
            // What nothing counts on any more is freed by the next look.
            agent.keeper.host.keeps = false;
            agent.keeper.unfinished = true;
        }
        // What the programs before had kept was decided by those.
        agent.keeper.host.kernel.forget_kept();
        if agent.config.packet_log {
            // It is for debugging: the firewall does not wait for it.
            if let Err(error) = agent.telling.start(None, &mut agent.programs, &agent.pins) {
                error!(error = format!("{error:#}"), "no messages about packets");
            }
        }
        agent.probes.settle(&agent.keeper.host.live, &agent.config.bpffs_dir);
        agent.write_status();
        Ok(agent)
    }

    fn write_status(&mut self) {
        let troubles = self.keeper.host.troubles.iter().chain(self.interfaces.errors()).cloned();
        // Without the time itself: the status is written whenever it says something new.
        let held = self.keeper.clock.held().map(|_| {
            "the clock jumped forward by more than an hour: not believed until a file generated then confirms it".to_owned()
        });
        let troubles = troubles.chain(self.repairs.troubles().cloned()).chain(held);
        let troubles = troubles.chain(self.probes.failures().cloned());
        let troubles: Vec<String> = troubles.chain(self.board.unbound()).collect();
        let (not_ready, repairs) = (self.not_ready(), self.repairs.counts());
        let programs = self.telling.attached(&mut self.programs);
        let program = programs.id().and_then(|id| Ok((id, programs.tag()?)));
        match self.interfaces.links().and_then(|links| Ok((links, program?))) {
            Ok((links, (id, tag))) => {
                let mut status = report(links, &self.keeper.host.live, (id, &tag));
                status.interfaces.extend(self.interfaces.exposed().map(|name| report::unfiltered(name)));
                for interface in &mut status.interfaces {
                    let open = self.interfaces.unprotected(&interface.name).as_millis();
                    interface.unprotected_ms = u64::try_from(open).unwrap_or(u64::MAX);
                }
                let status = Status { ready: not_ready.is_empty(), not_ready, repairs, ..status };
                self.keeper.journal.write(status, &self.keeper.host, troubles);
            }
            Err(error) => self.keeper.journal.unknown(&error),
        }
    }
}
