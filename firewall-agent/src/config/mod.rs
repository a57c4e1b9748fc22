//! The agent's configuration, merged from the file and the flags of the same names. No I/O.

mod file;
mod ports;
mod read;
mod values;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use file::{ConfigFile, MAX_RULE_COUNTERS};
pub use ports::{GuardedPorts, merged_ranges};
pub use read::read_config;
pub use values::{Listen, RevokeSessions, SocketFilterMode, XdpMode, duration};

use crate::rules::{Limits, TrustedKey};

/// Complete configuration of the agent, each value validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Names or globs, at least one.
    pub interfaces: Vec<String>,
    pub xdp_mode: XdpMode,
    pub rules_dir: PathBuf,
    pub managed_ranges: PathBuf,
    /// File of the blocked ranges; `None` for none.
    pub blocked_ranges: Option<PathBuf>,
    /// Empty if files need no signature.
    pub trusted_keys: Vec<TrustedKey>,
    pub state_dir: PathBuf,
    pub bpffs_dir: PathBuf,
    pub node_name: String,
    pub listen: Vec<Listen>,
    pub control_socket: PathBuf,
    pub guarded_ports: GuardedPorts,
    pub socket_filter: SocketFilterMode,
    pub socket_filter_cgroup: PathBuf,
    /// Packets of the loopback interface are judged, too.
    pub socket_filter_loopback: bool,
    pub revoke_sessions: RevokeSessions,
    pub allow_monitor: bool,
    pub max_rules_per_database: usize,
    pub max_databases: u32,
    /// Most rule files to read from the directory.
    pub most_files: usize,
    pub max_endpoints: u32,
    /// Of all databases together.
    pub max_prefixes: u32,
    pub max_rule_counters: u32,
    /// Days for which refused packets are remembered.
    pub denied_history_days: u32,
    /// Disk space in MiB for that memory.
    pub denied_history_mib: u32,
    pub packet_log: bool,
    pub rescan_interval: Duration,
    pub drift_interval: Duration,
    pub propagation_window: Duration,
}

/// Every missing key of file and flags together, with the reason it has no default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidConfig(pub Vec<String>);

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for InvalidConfig {}

impl Config {
    /// Merges file and flags, key by key: a flag wins over the file, the file over the default.
    ///
    /// `host_name` is the default of `node_name`.
    ///
    /// # Errors
    /// Every key without a default that is in neither.
    pub fn resolve(file: ConfigFile, flags: ConfigFile, host_name: &str) -> Result<Self, InvalidConfig> {
        let merged = flags.or(file);
        let interfaces = merged.interfaces.clone().filter(|names| !names.is_empty());
        let (Some(interfaces), Some(guarded_ports)) = (&interfaces, &merged.guarded_ports) else {
            let missing = [
                interfaces.is_none().then(|| format!("interfaces: {NO_INTERFACES}")),
                merged.guarded_ports.is_none().then(|| format!("guarded_ports: {NO_PORTS}")),
            ];
            return Err(InvalidConfig(missing.into_iter().flatten().collect()));
        };
        let (rules_dir, managed_ranges) = (merged.rules_dir(), merged.managed_ranges());
        let trusted_keys = merged.trusted_keys();
        let (state_dir, bpffs_dir) = (merged.state_dir(), merged.bpffs_dir());
        let (max_databases, most_files) = (merged.max_databases(), merged.most_files());
        let limits = merged.limits(host_name);
        let (max_endpoints, max_prefixes) = (merged.max_endpoints(), merged.max_prefixes());
        let max_rule_counters = merged.max_rule_counters();
        Ok(Self {
            interfaces: interfaces.clone(),
            guarded_ports: guarded_ports.clone(),
            xdp_mode: merged.xdp_mode.unwrap_or_default(),
            rules_dir,
            managed_ranges,
            blocked_ranges: merged.blocked_ranges.clone(),
            trusted_keys,
            state_dir,
            bpffs_dir,
            node_name: merged.node_name(host_name),
            listen: merged.listen(),
            control_socket: merged
                .control_socket
                .unwrap_or_else(|| "/run/firewall-agent/control.sock".into()),
            socket_filter: merged.socket_filter.unwrap_or_default(),
            socket_filter_cgroup: merged.socket_filter_cgroup.unwrap_or_else(|| "/sys/fs/cgroup".into()),
            socket_filter_loopback: merged.socket_filter_loopback.unwrap_or(false),
            revoke_sessions: merged.revoke_sessions.unwrap_or_default(),
            allow_monitor: limits.allow_monitor,
            max_rules_per_database: limits.max_rules,
            max_databases,
            most_files,
            max_endpoints,
            max_prefixes,
            max_rule_counters,
            denied_history_days: merged.denied_history_days.unwrap_or(7),
            denied_history_mib: merged.denied_history_mib.unwrap_or(16),
            packet_log: merged.packet_log.unwrap_or(false),
            rescan_interval: merged.rescan_interval.unwrap_or(Duration::from_secs(10)),
            drift_interval: merged.drift_interval.unwrap_or(Duration::from_secs(1)),
            propagation_window: merged.propagation_window.unwrap_or(Duration::from_secs(120)),
        })
    }

    /// Limits on a rule file of this host.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            max_rules: self.max_rules_per_database,
            allow_monitor: self.allow_monitor,
            node_name: Some(self.node_name.clone()),
        }
    }
}

const NO_INTERFACES: &str = "needs at least one name or glob, as in [eth0]: without one nothing is filtered";
const NO_PORTS: &str = "missing; it has no default, since a port left out is open to everyone until a rule file \
                        claims it: list the ports of all databases, as in [5432, 30000-32767], or write [] for none";
