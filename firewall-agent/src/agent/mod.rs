//! The loop that joins files, rules, sync and kernel.

mod intake;
mod interfaces;
mod journal;
mod report;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use self::intake::Intake;
use self::interfaces::Interfaces;
use self::journal::Journal;
pub use self::report::report;
use crate::bpf::{Capacity, Kernel, Owned, Pins, Probe, Programs};
use crate::config::Config;
use crate::files::lock::Lock;
use crate::files::scan::{Snapshot, scan};
use crate::rules::{DatabaseId, ManagedRanges};
use crate::sync::{Candidate, DataPlane as _, Desired, Live, Ports, admit, publish, remembered_ranges};

/// Time between two looks at the files and interfaces, at most.
const LONGEST_RESCAN: Duration = Duration::from_secs(1);

/// The daemon: owns the pins of one host.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    pins: Pins,
    programs: Programs,
    kernel: Kernel,
    interfaces: Interfaces,
    /// What the kernel holds.
    live: Live,
    /// The last good file of each database that this process has seen.
    admitted: BTreeMap<DatabaseId, Candidate>,
    /// The last good managed ranges; until a file was read, those that the kernel holds.
    ranges: ManagedRanges,
    snapshot: Option<Snapshot>,
    /// When the next rule expires.
    next_expiry: Option<Timestamp>,
    /// The last publish did not do all of it.
    unfinished: bool,
    journal: Journal,
    _locks: (Lock, Owned),
}

impl Agent {
    /// Takes over what is pinned, brings the kernel to the files, and then attaches: no packet meets an empty map.
    ///
    /// # Errors
    /// When another agent runs, a directory or pin is not usable, or the kernel refuses the programs.
    pub fn start(config: Config) -> Result<Self> {
        let lock = Lock::take(&config.state_dir)?;
        let pins = Pins::new(&config.bpffs_dir);
        pins.create()?;
        let owned = pins.own()?;
        let programs = Programs::load(&pins, Capacity::for_databases(config.max_databases))?;
        let kernel = Kernel::open(&config.bpffs_dir)?;
        kernel.sweep();
        let live = kernel.live()?;
        let slots = kernel.capacity().0;
        if slots != config.max_databases {
            warn!(slots, config.max_databases, "the pinned maps keep their size until they are made anew");
        }
        info!(
            databases = live.databases.len(),
            generation = live.generation,
            "programs loaded, kernel state adopted"
        );
        let mut agent = Self {
            interfaces: Interfaces::new(&config.interfaces, config.xdp_mode)?,
            journal: Journal::new(&config),
            config,
            pins,
            programs,
            kernel,
            ranges: remembered_ranges(&live),
            live,
            admitted: BTreeMap::new(),
            snapshot: None,
            next_expiry: None,
            unfinished: false,
            _locks: (lock, owned),
        };
        agent.rescan();
        agent.programs.pin(&agent.pins)?;
        agent.interfaces.attach(&mut agent.programs, &agent.pins);
        agent.write_status();
        Ok(agent)
    }

    /// Runs until SIGTERM or SIGINT, and leaves everything filtering.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub async fn run(mut self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be received")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be received")?;
        let mut ticks = tokio::time::interval(self.config.rescan_interval.min(LONGEST_RESCAN));
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = ticks.tick() => {
                    self.rescan();
                    self.interfaces.attach(&mut self.programs, &self.pins);
                    self.write_status();
                }
            }
        }
        info!("stopping: everything stays attached and in force");
        Ok(())
    }

    /// Looks at the files, and publishes when they, or the time, say something new.
    fn rescan(&mut self) {
        let now = Timestamp::now();
        let snapshot = scan(&self.config.rules_dir, &self.config.managed_ranges);
        let expired = self.next_expiry.is_some_and(|at| at <= now);
        if self.snapshot.as_ref() == Some(&snapshot) && !expired && !self.unfinished {
            return;
        }
        if self.unfinished {
            // After a refused write the kernel may hold something else than was noted.
            match self.kernel.live() {
                Ok(live) => self.live = live,
                Err(error) => return error!(error = format!("{error:#}"), "nothing can be published"),
            }
        }
        let intake = Intake::read(&snapshot, &self.config.managed_ranges, &self.config.limits());
        let admission = admit(intake.candidates, &self.admitted, &self.live);
        self.admitted.extend(admission.admitted);
        self.journal.files(&snapshot, intake.refused, intake.warnings, &admission.refused);
        if let Some(ranges) = intake.ranges {
            self.ranges = ranges;
        }

        let desired = self.desired(now);
        let published = publish(&desired, &mut self.live, &mut self.kernel, now);
        self.unfinished = !published.failed.is_empty() || !published.errors.is_empty();
        self.journal.published(&published, &desired, &self.admitted, &snapshot);
        self.next_expiry = self.expiry_after(now);
        self.snapshot = Some(snapshot);
    }

    fn desired(&self, now: Timestamp) -> Desired {
        let ports: Ports = self.config.guarded_ports.ranges().iter().cloned().flatten().collect();
        let mut desired =
            Desired { guarded: ports, monitor: self.config.allow_monitor, ..Desired::default() };
        for candidate in self.admitted.values() {
            desired.add(&candidate.rules, &self.ranges, now);
        }
        desired
    }

    fn expiry_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.admitted
            .values()
            .flat_map(|candidate| &candidate.rules.rules)
            .filter_map(|rule| rule.expires_at)
            .filter(|at| *at > now)
            .min()
    }

    fn write_status(&mut self) {
        let kernel =
            || report(&self.pins, &self.kernel, &self.live, &Probe::firewall(&self.config.bpffs_dir)?);
        match kernel() {
            Ok(status) => self.journal.write(status, &self.live, self.interfaces.errors()),
            Err(error) => warn!(error = format!("{error:#}"), "status cannot be worked out"),
        }
    }
}
