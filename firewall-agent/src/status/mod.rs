//! Status of the agent: the JSON of `status`, and, without counters, of `<state_dir>/status.json`. Field names are an
//! interface.

mod conditions;
pub mod event;
pub mod refusals;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::escape::path_text;
use crate::rules::{Cause, DatabaseId, Rejection};
pub use conditions::{Condition, Conditions};

/// The complete status at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub agent: Option<AgentStatus>,
    /// Everything configured is in force and probed: the answer of `/readyz`.
    pub ready: bool,
    /// Reasons for not being ready.
    pub not_ready: Vec<String>,
    pub interfaces: Vec<InterfaceStatus>,
    /// Ordered by id.
    pub databases: Vec<DatabaseStatus>,
    /// Files that are not in force, with the reasons.
    pub rejected_files: Vec<RejectedFile>,
    /// Messages of the conditions that are errors.
    pub errors: Vec<String>,
    /// Every true condition, errors or not.
    #[serde(default)]
    pub conditions: Vec<ConditionStatus>,
    /// Number of drift repairs by this daemon, by kind.
    pub repairs: BTreeMap<String, u64>,
    /// Packets by reason, in the order of the reasons' numbers; empty in `status.json`.
    pub counters: Vec<ReasonCounter>,
    /// `None` when an older agent wrote this.
    #[serde(default)]
    pub socket_filter: Option<SocketFilterStatus>,
    /// Packets that the socket filter judged; empty in `status.json`.
    #[serde(default)]
    pub socket_counters: Vec<SocketCounter>,
    /// `None` in `status.json`.
    #[serde(default)]
    pub kernel_memory: Option<KernelMemory>,
}

/// Memory of the agent's maps, in bytes, as the kernel accounts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelMemory {
    /// All maps together, with the values of every CPU.
    pub bytes: u64,
    /// The values of one CPU.
    pub bytes_per_cpu: u64,
    /// CPUs that the kernel may bring up.
    pub possible_cpus: u64,
}

/// One true condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionStatus {
    pub name: String,
    /// Interface, database or listener, for example; empty for a condition with only one.
    pub subject: String,
    pub message: String,
    pub since: Timestamp,
    pub blocks_readiness: bool,
}

/// The daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    pub running: bool,
    pub pid: u32,
    pub version: String,
    /// SHA-256 of the BPF object with its programs, in hex; empty when an older agent wrote this.
    #[serde(default)]
    pub object: String,
    pub started_at: Timestamp,
}

/// [`InterfaceStatus::mode`] of a configured interface that is present and not filtered.
pub const UNFILTERED: &str = "none";

/// One interface that has, or should have, our link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    pub name: String,
    /// `native`, `generic` or `other`; [`UNFILTERED`]; `gone` when the interface of this name does not run the link's
    /// program (any more).
    pub mode: String,
    pub link_id: u32,
    pub program_id: u32,
    /// The kernel's digest of the pinned program; empty when another program is attached.
    pub program_tag: String,
    /// Total milliseconds that this daemon knew the interface to be present without our program.
    pub unprotected_ms: u64,
    /// Its name when the agent attached, if it had another one; `None` otherwise.
    #[serde(default)]
    pub renamed_from: Option<String>,
}

/// The socket filter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SocketFilterStatus {
    /// `monitor` or `enforce`; [`UNFILTERED`] when it is not attached.
    pub mode: String,
    /// `off`, `monitor` or `enforce`, as configured.
    pub configured: String,
    /// Directory of its control group.
    pub cgroup: String,
    /// Packets of the loopback interface are judged, too.
    pub loopback: bool,
    pub link_id: u32,
    pub program_id: u32,
    /// As in [`InterfaceStatus`].
    pub program_tag: String,
}

/// Packets that the socket filter judged, of one interface with one verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SocketCounter {
    /// Name of the interface with this index on the host, or `index N`.
    pub interface: String,
    /// The database that refused them; `None` for packets that are allowed, or that no database refused.
    pub database_id: Option<String>,
    pub reason: String,
    pub packets: u64,
    /// Bytes from the IP header on.
    pub bytes: u64,
}

/// State of a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseState {
    /// In force as in its file.
    #[default]
    Applied,
    /// In force, except for `problem`.
    Degraded,
    /// Its file is rejected; the previous state stays in force.
    Rejected,
    /// Its file is gone; its rules stay in force.
    Orphaned,
}

impl DatabaseState {
    /// The name in tables and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Degraded => "degraded",
            Self::Rejected => "rejected",
            Self::Orphaned => "orphaned",
        }
    }
}

/// One database in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    pub database_id: String,
    pub name: String,
    pub state: DatabaseState,
    /// `None` when the live rules belong to no revision: a publish was interrupted.
    pub revision: Option<u64>,
    pub generation: Option<u64>,
    pub applied_at: Option<Timestamp>,
    /// Time at which the daemon saw the file of this revision.
    pub detected_at: Option<Timestamp>,
    /// Milliseconds from a visible file to its rules in force; only for revisions that this daemon newly applied.
    pub apply_ms: Option<u64>,
    /// Milliseconds from `generated_at` to rules in force; negative when the clocks disagree.
    pub propagation_ms: Option<i64>,
    /// SHA-256 of the prefixes in the kernel, in hex: equal on every host that allows the same prefixes.
    pub digest: String,
    /// The destinations in the endpoint table.
    pub endpoints: Vec<String>,
    /// Prefixes in the allow list.
    pub prefixes: usize,
    /// The reason that it is not `applied`.
    pub problem: Option<String>,
}

/// A file that is not in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RejectedFile {
    pub path: String,
    /// The database whose file it is; `None` when the agent cannot tell.
    #[serde(default)]
    pub database_id: Option<String>,
    pub errors: Vec<String>,
    /// The cause of each error, in order.
    #[serde(default)]
    pub causes: Vec<Cause>,
}

impl RejectedFile {
    #[must_use]
    pub fn new(path: &Path, database: Option<&DatabaseId>, rejections: &[Rejection]) -> Self {
        Self {
            path: path_text(path),
            database_id: database.map(ToString::to_string),
            errors: rejections.iter().map(|one| one.message.clone()).collect(),
            causes: rejections.iter().map(|one| one.cause).collect(),
        }
    }
}

/// Packets with one reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReasonCounter {
    pub reason: String,
    pub verdict: String,
    pub packets: u64,
    pub bytes: u64,
}

/// State of a database known only to the daemon.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    pub state: DatabaseState,
    pub problem: Option<String>,
    pub apply_ms: Option<u64>,
    pub propagation_ms: Option<i64>,
    pub detected_at: Option<Timestamp>,
    /// The revision in force, now or when the daemon started.
    pub revision: u64,
    /// The file is accepted and not in force yet.
    pub waiting: bool,
}

impl Status {
    /// Adds the daemon's state to the kernel's.
    pub fn observe(&mut self, observed: &BTreeMap<String, Observed>) {
        for database in &mut self.databases {
            if let Some(seen) = observed.get(&database.database_id) {
                database.state = seen.state;
                database.problem.clone_from(&seen.problem);
                database.detected_at = seen.detected_at;
                database.apply_ms = seen.apply_ms;
                database.propagation_ms = seen.propagation_ms;
            }
        }
    }

    /// Sets the fields derived from the conditions.
    pub fn describe(&mut self, conditions: &Conditions) {
        self.not_ready = conditions.not_ready();
        self.ready = self.not_ready.is_empty();
        self.errors = conditions.errors();
        let true_ones = conditions.iter().map(|(condition, subject, state)| ConditionStatus {
            name: condition.name().to_owned(),
            subject: subject.to_owned(),
            message: state.message.clone(),
            since: state.since,
            blocks_readiness: condition.blocks_readiness(),
        });
        self.conditions = true_ones.collect();
    }

    /// The daemon's state when it wrote this.
    #[must_use]
    pub fn observed(&self) -> BTreeMap<String, Observed> {
        self.databases
            .iter()
            .map(|database| {
                let seen = Observed {
                    state: database.state,
                    problem: database.problem.clone(),
                    apply_ms: database.apply_ms,
                    propagation_ms: database.propagation_ms,
                    detected_at: database.detected_at,
                    ..Observed::default()
                };
                (database.database_id.clone(), seen)
            })
            .collect()
    }
}
