//! The daemon: an event loop around one reconciler.

mod backoff;
mod clock;
mod control;
mod denied_history;
mod denied_period;
mod drift_check;
mod fail_closed;
mod file_report;
mod hit_reading;
mod interfaces;
mod kernel_status;
mod load_state;
mod overlay;
mod packet_log;
mod probes;
mod read_back;
mod reconcile;
mod repairs;
mod restore;
mod run;
mod service;
mod session_reset;
mod socket_filter;
mod status_reporter;
#[cfg(test)]
mod tests;
mod verbs;
mod web;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tracing::{error, info, warn};

pub use self::clock::clock_at;
pub use self::control::{Reply, Verb, send_verb};
use self::denied_history::DeniedHistory;
pub use self::denied_period::{DeniedPeriod, kernel_entries, remembers_since};
pub use self::file_report::{
    Content, FileError, FileReport, Note, RangesPaths, parse, read_directory, read_paths,
};
use self::interfaces::Interfaces;
pub use self::kernel_status::{counters, kernel_memory, report};
pub use self::load_state::{counters_identity, join};
use self::packet_log::PacketLogControl;
use self::probes::Probes;
pub use self::reconcile::Reconciler;
use self::repairs::Repairs;
pub use self::restore::{Restored, restore};
use self::run::DoneRequest;
pub use self::run::Signals;
use self::session_reset::{AccessChange, PublishedAccess, SessionReset};
use self::socket_filter::SocketFilter;
use self::status_reporter::StatusReporter;
use crate::bpf::{
    Kernel, MapSizes, NamedMaps, Owned, Pins, Programs, all_run, databases_in, other_layouts,
    remove_other_layouts,
};
use crate::config::{Config, RevokeSessions};
use crate::files::file_reader::{FileReader, Inputs};
use crate::files::lock::Lock;
use crate::files::owner::create_as_owner_of;
use crate::files::read_cache::Reading;
use crate::files::signature_verifier::SignatureVerifier;
use crate::host::clock::Moment;
use crate::http::SharedState;
use crate::status::{Condition, Status, event};
use crate::sync::{CommonDigests, DataPlane as _, StateStore as _};
use crate::version::VERSION;

/// Longest wait of a start for the files: the store has the accepted ones.
const FIRST_SCAN: Duration = Duration::from_secs(2);
/// Longest wait for the store before an attach that would cut allowed sources: destinations are closed until their
/// claims are durable.
const ATTACH_PATIENCE: Duration = Duration::from_secs(5);
/// Time after which an unfinished scan is reported.
const SLOW_SCAN: Duration = Duration::from_secs(5);

/// The exclusive right to change one host's state, on disk and in the kernel.
#[derive(Debug)]
pub struct Ownership {
    _state: Lock,
    pins: Owned,
    /// No agent has run since the boot.
    is_first: bool,
}

impl Ownership {
    /// Becomes the only owner. A process of root creates its files and pins as the owner of the state directory from now
    /// on.
    ///
    /// # Errors
    /// Another process is the owner, or the directories are not usable or belong to two users other than root.
    pub fn take(config: &Config) -> Result<Self> {
        create_as_owner_of(&[&config.state_dir, &config.bpffs_dir])?;
        let state = Lock::take(&config.state_dir)?;
        let pins = Pins::new(&config.bpffs_dir);
        let is_first = pins.is_empty();
        pins.create()?;
        Ok(Self { _state: state, pins: pins.own()?, is_first })
    }
}

/// The daemon.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    pins: Pins,
    programs: Programs,
    packet_log: PacketLogControl,
    interfaces: Interfaces,
    socket_filter: SocketFilter,
    /// `None` with `revoke_sessions: keep`, or before the event loop.
    sessions: Option<SessionReset>,
    /// `None` before the event loop.
    denied_history: Option<DeniedHistory>,
    reader: FileReader,
    reconciler: Reconciler,
    reporter: StatusReporter,
    /// Verbs that wait for the store before their reply.
    unstored: Vec<DoneRequest>,
    ownership: Ownership,
    named_maps: NamedMaps,
    repairs: Repairs,
    probes: Probes,
    digests: CommonDigests,
    /// A pass may have left free memory since the last tick.
    has_garbage: bool,
    checked_at: Instant,
    /// Time of the last ordered scan of all files.
    scanned: Instant,
    shared: Arc<SharedState>,
    /// Handle of the HTTP server, until it serves. Opened at the start: another process may remove the pins afterwards.
    counters: Option<Kernel>,
}

impl Agent {
    /// Adopts the pinned and the stored state, publishes the files, and then attaches: no packet meets an empty map.
    ///
    /// # Errors
    /// Another agent runs, a directory, pin or the store is not usable, or the kernel refuses the programs. Unless
    /// another agent runs, the guarded ports and the claimed destinations are then closed.
    pub fn start(config: Config) -> Result<Self> {
        Self::try_start(config.clone()).map_err(|error| fail_closed::fail_closed(&config, error))
    }

    fn try_start(config: Config) -> Result<Self> {
        let ownership = Ownership::take(&config)?;
        let verifier = SignatureVerifier::new(config.trusted_keys.clone());
        let mut reader = FileReader::start(Inputs::of(&config), verifier)?;
        let pins = Pins::new(&config.bpffs_dir);
        let map_sizes = MapSizes::new(config.max_databases, config.max_rule_counters);
        let mut programs = Programs::load_for_sockets(&pins, map_sizes, SocketFilter::bits(&config))?;
        let reconciler = Reconciler::open(&config, &ownership)?;
        let counters = Some(Kernel::open(&config.bpffs_dir)?);
        reader.request(reconciler.known_files(), Reading::All);
        let (sizes, wanted) = (reconciler.data_plane.sizes(), map_sizes.tables());
        for (key, size, wanted) in [
            ("max_databases", sizes.databases, wanted.databases),
            ("max_rule_counters", sizes.counters, wanted.counters),
        ] {
            if size != wanted {
                warn!(key, size, wanted, "size not applied, pinned maps keep theirs until the next reboot");
            }
        }
        let is_new = reconciler.accepted.files().is_empty();
        let (databases, generation) = (reconciler.live.databases.len(), reconciler.live.generation);
        info!(
            version = VERSION.as_str(),
            databases,
            generation,
            stored = reconciler.accepted.files().len(),
            event = event::STARTED,
            "programs loaded, pinned state adopted"
        );
        let named_maps = NamedMaps::new(&pins, &mut programs)?;
        let others = other_layouts(&pins)?;
        let shared = Arc::new(SharedState::new(config.propagation_window));
        let reporter =
            StatusReporter::new(&config, &reconciler.accepted, &reconciler.live, Arc::clone(&shared))?;
        let mut agent = Self {
            interfaces: Interfaces::new(&config.interfaces, config.xdp_mode)?,
            socket_filter: SocketFilter::new(&config),
            sessions: None,
            denied_history: None,
            config,
            pins,
            programs,
            packet_log: PacketLogControl::default(),
            reader,
            reconciler,
            reporter,
            unstored: Vec::new(),
            ownership,
            named_maps,
            repairs: Repairs::default(),
            digests: CommonDigests::default(),
            has_garbage: true,
            probes: Probes::default(),
            checked_at: Instant::now(),
            scanned: Instant::now(),
            shared,
            counters,
        };
        agent.reconciler.frees_nothing = !others.is_empty();
        // Unresponsive files do not delay the boot: the store has the accepted ones.
        let snapshot = agent.reader.wait(FIRST_SCAN);
        agent.reconcile(snapshot.as_ref());
        // Another layout is in force meanwhile, and a new host was open before. On any other host, denied sources could
        // get in until the attach.
        if (is_new || !others.is_empty()) && agent.reconciler.store.flush(ATTACH_PATIENCE) {
            // With the claims that became durable meanwhile.
            agent.reconcile(None);
        }
        agent.programs.pin(&agent.pins)?;
        for layout in &others {
            let replaced =
                agent.reconciler.ensure_replaces(databases_in(layout)?, &agent.reporter.conditions);
            replaced
                .with_context(|| format!("{}: stays in force, map layout not migrated", layout.display()))?;
        }
        agent.attach_interfaces(Instant::now());
        if !others.is_empty() && all_run(&agent.pins, &mut agent.programs)? {
            remove_other_layouts(&agent.pins)?;
            // The next pass frees unused counters and slots.
            agent.reconciler.frees_nothing = false;
            agent.reconciler.force();
        }
        // Discards verdicts cached by the previous programs.
        agent.reconciler.data_plane.invalidate_caches();
        if agent.config.packet_log {
            // A debugging aid: the firewall does not depend on it.
            let _ = agent.packet_log.start(None, &mut agent.programs, &agent.pins);
        }
        agent.probes.probe_published(&agent.reconciler.live, &agent.config.bpffs_dir);
        agent.write_status();
        Ok(agent)
    }

    /// Runs one reconcile pass; does nothing for an unchanged snapshot before anything is due.
    pub(super) fn reconcile(&mut self, snapshot: Option<&crate::files::scan::ScannedFiles>) {
        self.suspend_session_reset();
        match Moment::now() {
            Ok(moment) => {
                let applied = self.reconciler.reconcile(snapshot, moment, &mut self.reporter);
                self.probes.add_published(applied);
                self.has_garbage |= snapshot.is_some();
            }
            Err(error) => error!(error = format!("{error:#}"), "reconcile pass skipped"),
        }
        self.resume_session_reset(AccessChange::default());
    }

    /// Starts to reset the sessions of revoked sources, if configured.
    fn start_session_reset(&mut self) -> Result<()> {
        if self.config.revoke_sessions == RevokeSessions::Reset {
            self.sessions = Some(SessionReset::start(Arc::clone(&self.shared))?);
            self.resume_session_reset(AccessChange::ALL);
        }
        Ok(())
    }

    /// Keeps every session while the state in force may change.
    fn suspend_session_reset(&self) {
        if let Some(sessions) = &self.sessions {
            sessions.suspend();
        }
    }

    /// Hands the state in force over if sources may have lost access, by a publish or by `change`.
    fn resume_session_reset(&mut self, change: AccessChange) {
        let Some(sessions) = &self.sessions else { return };
        let published = self.reconciler.take_access_change();
        let change = AccessChange {
            changed: change.changed || published.changed,
            revoked: change.revoked || published.revoked,
        };
        sessions.resume(change, || {
            let filtered = self.interfaces.attached().cloned().collect();
            Some(PublishedAccess { judge: self.reconciler.session_judge()?, filtered })
        });
    }

    /// Orders a scan of the files.
    fn rescan(&mut self, reading: Reading) {
        self.reconciler.wants_files = false;
        if reading == Reading::All {
            self.scanned = Instant::now();
        }
        self.reader.request(self.reconciler.known_files(), reading);
    }

    fn write_status(&mut self) {
        self.set_conditions();
        self.reporter.undurable(self.reconciler.undurable());
        let repairs = self.repairs.counts();
        let programs = self.packet_log.attached(&mut self.programs);
        let program = programs.id().and_then(|id| Ok((id, programs.tag()?)));
        match program {
            Ok((id, tag)) => {
                let Reconciler { live, accepted, .. } = &self.reconciler;
                let mut status = report(self.interfaces.links(), live, &mut self.digests, (id, &tag));
                // What cannot be queried cannot be attached either, and is a condition.
                status.socket_filter = self.socket_filter.status(&mut self.programs).ok();
                status
                    .interfaces
                    .extend(self.interfaces.exposed().map(|name| kernel_status::unfiltered(name)));
                for interface in &mut status.interfaces {
                    let open = self.interfaces.unprotected(&interface.name).as_millis();
                    interface.unprotected_ms = u64::try_from(open).unwrap_or(u64::MAX);
                }
                self.reporter.write(Status { repairs, ..status }, live, accepted);
            }
            Err(error) => self.reporter.kernel_unreadable(&error),
        }
    }

    /// Updates the conditions with state outside the reporter.
    fn set_conditions(&mut self) {
        let conditions = &mut self.reporter.conditions;
        let detached = self.reconciler.detached();
        let message = detached.map(|since| format!("detached by an operator since {since:.0}"));
        conditions.set(Condition::Detached, message);
        conditions.set(Condition::NoDatabase, self.reconciler.no_database());
        conditions.replace(Condition::StoredRecord, self.reconciler.unused());
        conditions.set(Condition::PacketLog, self.packet_log.problem());
        let message =
            self.repairs.is_disturbed().then(|| "kernel objects drifted and were repaired".to_owned());
        conditions.set(Condition::Drift, message);
        conditions.replace(Condition::Repair, self.repairs.failures());
        conditions.replace(Condition::Probe, self.probes.failures(&self.reconciler.live));
        conditions.replace(Condition::Interface, self.interfaces.failures());
        conditions.replace(Condition::LargeSegments, self.interfaces.large_segments());
        conditions.set(Condition::SocketFilter, self.socket_filter.unfiltered());
        conditions.set(Condition::SocketMonitor, self.socket_filter.unmonitored());
        let problem = self.sessions.as_ref().and_then(SessionReset::problem);
        conditions.set(Condition::SessionReset, problem);
        let notices = self.reconciler.persisted.range_notices().iter();
        let notices = notices.map(|(id, notice)| (id.to_string(), format!("range {id}: {notice}")));
        conditions.replace(Condition::RangeChange, notices);
        let overlay = self.reconciler.persisted.overlay().entries().map(|entry| {
            let message = format!("overlay {}: {} until {:.0}", entry.id, entry.action, entry.until);
            (entry.id.to_string(), message)
        });
        conditions.replace(Condition::Overlay, overlay);
        conditions.set(Condition::Store, self.reconciler.store.problem());
        clock::set_conditions(&self.reconciler.clock, self.reconciler.synchronised, conditions);
        let hangs = self.reader.busy_for().is_some_and(|busy| busy >= SLOW_SCAN);
        let message = hangs.then(|| {
            format!(
                "reading {} has not returned for more than {} s: accepted files stay in force",
                self.config.rules_dir.display(),
                SLOW_SCAN.as_secs()
            )
        });
        conditions.set(Condition::FilesHang, message);
    }
}
