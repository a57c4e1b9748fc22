//! The agent of a simulated host, its configuration, and the state on which it acts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use super::blocked::BlockedList;
use super::channel::{BLOCKED, RANGES};
use super::disk::Disk;
use super::kernel::SharedKernel;
use super::oracle::{Decision, View};
use super::overlay::Entries;
use super::writer::{Records, Writer};
use crate::agent::load_state::join;
use crate::agent::read_back::ReadBack;
use crate::agent::reconcile::{Reconciler, Settings};
use crate::agent::status_reporter::StatusReporter;
use crate::config::{Config, ConfigFile};
use crate::files::store::LastGoodStore;
use crate::host::clock::Moment;
use crate::http::SharedState;
use crate::rules::{DatabaseId, Limits};
use crate::sync::{Capacity, Guards, Presence, Record, StateStore as _};

#[derive(Debug)]
pub struct Agent {
    pub reconciler: Reconciler<SharedKernel, Writer>,
    pub reporter: StatusReporter,
}

impl Agent {
    /// Starts from the state of the disk and the kernel.
    pub fn start(
        disk: &Disk,
        kernel: SharedKernel,
        settings: Settings,
        config: &Config,
        writer: impl FnOnce(Records) -> Writer,
        moment: Moment,
    ) -> Result<Self> {
        let live = ReadBack::live(&kernel)?;
        let records = LastGoodStore::new(disk.clone()).load().context("the store cannot be read")?;
        let mut store = writer(records.iter().map(|record| (Record::key(record), record.clone())).collect());
        let (accepted, persisted, changes, unused) = join(records, &live);
        ensure!(unused.is_empty(), "stored records are not used: {unused:?}");
        store.submit(changes);
        let shared = Arc::new(SharedState::new(config.propagation_window));
        let reporter = StatusReporter::new(config, &accepted, &live, shared)?;
        let mut reconciler = Reconciler::new(settings, kernel, live, (accepted, persisted), store, moment);
        // The daemon replies to a verb once the store has caught up.
        reconciler.waits_for_store = true;
        Ok(Self { reconciler, reporter })
    }
}

pub fn config(host: usize) -> Config {
    let flags = ConfigFile {
        interfaces: Some(vec!["none".to_owned()]),
        guarded_ports: Some("5001".parse().unwrap()),
        state_dir: Some(PathBuf::from("/nonexistent/state")),
        ..ConfigFile::default()
    };
    Config::resolve(flags, ConfigFile::default(), &format!("host-{host}")).unwrap()
}

/// Settings of a host before any change.
pub fn settings() -> Settings {
    Settings {
        managed_ranges: PathBuf::from(RANGES),
        blocked_ranges: PathBuf::from(BLOCKED),
        limits: Limits { max_rules: 30, allow_monitor: true, node_name: None },
        guarded: Guards::from([5001]),
        judges_sockets: false,
        capacity: Capacity::default(),
    }
}

/// State on which an agent acts.
pub fn view(agent: &Agent) -> View {
    let Reconciler { accepted, persisted, settings, clock, .. } = &agent.reconciler;
    let mut decisions = BTreeMap::new();
    for id in ["a", "b", "c"].map(|id| id.parse::<DatabaseId>().unwrap()) {
        let decision = match (accepted.files().get(&id), persisted.presence(&id)) {
            (Some(file), _) => (Decision::Revision(file.rules.revision), Some(file.bytes.content.to_vec())),
            (None, Some(Presence::Removed)) if persisted.floor(&id) > 0 => {
                (Decision::Revision(persisted.floor(&id)), None)
            }
            (None, Some(Presence::Removed | Presence::Forgotten)) => (Decision::Forgotten, None),
            (None, Some(Presence::Active) | None) => (Decision::None, None),
        };
        decisions.insert(id, decision);
    }
    View {
        decisions,
        ranges: accepted.ranges().revision,
        now: clock.now(),
        guarded: settings.guarded.strict().clone(),
        allow_monitor: settings.limits.allow_monitor,
        overlay: entries_in_force(agent),
    }
}

/// The blocked ranges on which an agent acts.
pub fn blocked_list(agent: &Agent) -> BlockedList {
    let ranges = agent.reconciler.accepted.blocked();
    let nets = ranges.ranges.iter().map(|(id, range)| (id.to_string(), range.cidrs.clone()));
    BlockedList { revision: ranges.revision, ranges: nets.collect() }
}

/// Entries of the overlay in force, with their ends.
fn entries_in_force(agent: &Agent) -> Entries {
    let (overlay, now) = (agent.reconciler.persisted.overlay(), agent.reconciler.clock.now());
    let in_force = overlay.entries().filter(|entry| entry.until > now);
    in_force.map(|entry| (entry.action.clone(), entry.until)).collect()
}
