//! Keys of the configuration: fields of its file, and flags of the same names.

use std::path::PathBuf;
use std::time::Duration;

use super::values::{bound, databases_bound, days_bound, history_bound, interface, name, rules_bound};
use super::{GuardedPorts, Listen, RevokeSessions, SocketFilterMode, XdpMode, duration};
use crate::rules::{Limits, TrustedKey};

/// Every key of the configuration, each given or not: by the file, or as flags of `run`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct ConfigFile {
    /// Interfaces to filter on: names or globs
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = interface)]
    pub interfaces: Option<Vec<String>>,
    /// XDP mode of the attached program [default: native]
    #[arg(long, value_name = "MODE")]
    pub xdp_mode: Option<XdpMode>,
    /// Directory of the rule files [default: /etc/firewall-agent/rules.d]
    #[arg(long, value_name = "DIR")]
    pub rules_dir: Option<PathBuf>,
    /// File of the managed ranges [default: /etc/firewall-agent/managed-ranges.yaml]
    #[arg(long, value_name = "FILE")]
    pub managed_ranges: Option<PathBuf>,
    /// File of the blocked ranges: sources refused at every endpoint, before any rule
    #[arg(long, value_name = "FILE")]
    pub blocked_ranges: Option<PathBuf>,
    /// Trusted minisign public keys: if any, files without a signature by one of them are rejected
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub trusted_keys: Option<Vec<TrustedKey>>,
    /// Directory of the store and of status.json [default: /var/lib/firewall-agent]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Directory of the pins, on a bpffs [default: /sys/fs/bpf/firewall-agent]
    #[arg(long, value_name = "DIR")]
    pub bpffs_dir: Option<PathBuf>,
    /// Name of this host in rule files [default: the host name]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub node_name: Option<String>,
    /// Addresses that serve /metrics, /healthz, /readyz and /status [default: unix:/run/firewall-agent/http.sock]
    #[arg(long, value_name = "unix:PATH|ADDR:PORT", value_delimiter = ',')]
    pub listen: Option<Vec<Listen>>,
    /// Socket for commands to the daemon [default: /run/firewall-agent/control.sock]
    #[arg(long, value_name = "PATH")]
    pub control_socket: Option<PathBuf>,
    /// Ports closed until a rule file opens an endpoint there, as in 5432,30000-32767; [] for none.
    /// An entry {ports: 30000-32767, new_connections_only: true} lets answers of TCP pass
    #[arg(long, value_name = "PORTS")]
    pub guarded_ports: Option<GuardedPorts>,
    /// Mode of the program that judges packets again where they enter a socket [default: monitor]
    #[arg(long, value_name = "MODE")]
    pub socket_filter: Option<SocketFilterMode>,
    /// Directory of the control group (version 2) whose sockets it covers [default: /sys/fs/cgroup]
    #[arg(long, value_name = "DIR")]
    pub socket_filter_cgroup: Option<PathBuf>,
    /// Let it judge packets of the loopback interface, too [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub socket_filter_loopback: Option<bool>,
    /// Open TCP sessions of a source that lost its access: keep their sockets, or reset them [default: keep]
    #[arg(long, value_name = "ACTION")]
    pub revoke_sessions: Option<RevokeSessions>,
    /// Accept rule files with `mode: monitor` [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allow_monitor: Option<bool>,
    /// Maximum number of rules of one database [default: 30]
    #[arg(long, value_name = "N", value_parser = rules_bound)]
    pub max_rules_per_database: Option<usize>,
    /// Maximum number of databases on this host, up to 256 [default: 256]
    #[arg(long, value_name = "N", value_parser = databases_bound)]
    pub max_databases: Option<u32>,
    /// Maximum number of endpoints of all databases together [default: 1024]
    #[arg(long, value_name = "N", value_parser = bound)]
    pub max_endpoints: Option<u32>,
    /// Maximum number of prefixes of all databases together [default: 131072]
    #[arg(long, value_name = "N", value_parser = bound)]
    pub max_prefixes: Option<u32>,
    /// Maximum number of hit counters of rules, of all databases together [default: 4096]
    #[arg(long, value_name = "N", value_parser = bound)]
    pub max_rule_counters: Option<u32>,
    /// Days for which refused packets are remembered, up to 365 [default: 7]
    #[arg(long, value_name = "N", value_parser = days_bound)]
    pub denied_history_days: Option<u32>,
    /// Disk space in MiB for the memory of refused packets, up to 64 [default: 16]
    #[arg(long, value_name = "N", value_parser = history_bound)]
    pub denied_history_mib: Option<u32>,
    /// Attach the build of the program that logs single packets, for debugging [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub packet_log: Option<bool>,
    /// Time between full rescans of the files [default: 10s]
    #[arg(long, value_name = "SPAN", value_parser = duration)]
    pub rescan_interval: Option<Duration>,
    /// Time between drift checks of the kernel's objects [default: 1s]
    #[arg(long, value_name = "SPAN", value_parser = duration)]
    pub drift_interval: Option<Duration>,
    /// Promised time until a change is in force [default: 120s]
    #[arg(long, value_name = "SPAN", value_parser = duration)]
    pub propagation_window: Option<Duration>,
}

/// Default of `max_rule_counters`: 16 for each of 256 databases, in 98 kB of each CPU.
pub const MAX_RULE_COUNTERS: u32 = 4_096;

/// Least number of rule files to read, however low `max_databases` is.
const LEAST_FILES: usize = 1024;

impl ConfigFile {
    /// Directory into which the control plane writes the rule files.
    #[must_use]
    pub fn rules_dir(&self) -> PathBuf {
        self.rules_dir.clone().unwrap_or_else(|| "/etc/firewall-agent/rules.d".into())
    }

    /// File into which the control plane writes the managed ranges.
    #[must_use]
    pub fn managed_ranges(&self) -> PathBuf {
        self.managed_ranges.clone().unwrap_or_else(|| "/etc/firewall-agent/managed-ranges.yaml".into())
    }

    /// Trusted keys; empty if files need no signature.
    #[must_use]
    pub fn trusted_keys(&self) -> Vec<TrustedKey> {
        self.trusted_keys.clone().unwrap_or_default()
    }

    /// Directory of the agent's state.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| "/var/lib/firewall-agent".into())
    }

    /// Directory of the agent's pins.
    #[must_use]
    pub fn bpffs_dir(&self) -> PathBuf {
        self.bpffs_dir.clone().unwrap_or_else(|| "/sys/fs/bpf/firewall-agent".into())
    }

    /// HTTP listeners; a unix socket by default.
    #[must_use]
    pub fn listen(&self) -> Vec<Listen> {
        self.listen.clone().unwrap_or_else(|| vec![Listen::Unix("/run/firewall-agent/http.sock".into())])
    }

    /// Most endpoints of all databases together.
    #[must_use]
    pub fn max_endpoints(&self) -> u32 {
        self.max_endpoints.unwrap_or(1024)
    }

    /// Most prefixes of all databases together.
    #[must_use]
    pub fn max_prefixes(&self) -> u32 {
        self.max_prefixes.unwrap_or(131_072)
    }

    /// Most rule counters of all databases together.
    #[must_use]
    pub fn max_rule_counters(&self) -> u32 {
        self.max_rule_counters.unwrap_or(MAX_RULE_COUNTERS)
    }

    /// Limits on a rule file of this host; `host_name` is the default of `node_name`.
    #[must_use]
    pub fn limits(&self, host_name: &str) -> Limits {
        Limits {
            max_rules: self.max_rules_per_database.unwrap_or(30),
            allow_monitor: self.allow_monitor.unwrap_or(false),
            node_name: Some(self.node_name(host_name)),
        }
    }

    /// Most databases on this host.
    #[must_use]
    pub fn max_databases(&self) -> u32 {
        self.max_databases.unwrap_or(256)
    }

    /// Most rule files to read from a directory: one of each database and one that replaces it.
    #[must_use]
    pub fn most_files(&self) -> usize {
        usize::try_from(self.max_databases()).unwrap_or(usize::MAX).saturating_mul(2).max(LEAST_FILES)
    }

    /// Name of this host in rule files.
    pub(super) fn node_name(&self, host_name: &str) -> String {
        self.node_name.clone().unwrap_or_else(|| host_name.to_owned())
    }
}

/// Defines the operations on all keys; a missing one does not compile.
macro_rules! keys {
    ($($key:ident),+ $(,)?) => {
        /// Names of all keys in the file.
        pub(super) const KEYS: &[&str] = &[$(stringify!($key)),+];

        impl ConfigFile {
            /// Each key of `self`, or else of `other`.
            pub(super) fn or(self, other: Self) -> Self {
                Self { $($key: self.$key.or(other.$key)),+ }
            }
        }
    };
}

keys! {
    interfaces, xdp_mode, rules_dir, managed_ranges, blocked_ranges, trusted_keys, state_dir, bpffs_dir, node_name, listen,
    control_socket, guarded_ports, socket_filter, socket_filter_cgroup, socket_filter_loopback, revoke_sessions,
    allow_monitor, max_rules_per_database, max_databases, max_endpoints, max_prefixes, max_rule_counters,
    denied_history_days, denied_history_mib, packet_log, rescan_interval, drift_interval, propagation_window,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        flags: ConfigFile,
    }

    fn parse(line: &str) -> Result<ConfigFile, String> {
        let words = std::iter::once("run").chain(line.split_whitespace());
        Command::try_parse_from(words).map(|command| command.flags).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_accept_the_values_the_file_accepts() {
        let flags = parse(
            "--interfaces eth0,bond* --xdp-mode generic --guarded-ports 5432,30000-32767 --allow-monitor \
             --packet-log=false --max-databases 5 --denied-history-days 3 --rescan-interval 500ms --listen 127.0.0.1:9639",
        )
        .unwrap();
        assert_eq!(flags.interfaces, Some(vec!["eth0".to_owned(), "bond*".to_owned()]));
        assert_eq!(flags.xdp_mode, Some(XdpMode::Generic));
        assert_eq!(flags.guarded_ports.unwrap().to_string(), "[5432, 30000-32767]");
        assert_eq!((flags.allow_monitor, flags.packet_log), (Some(true), Some(false)));
        assert_eq!(flags.max_databases, Some(5));
        assert_eq!(flags.denied_history_days, Some(3));
        assert_eq!(flags.rescan_interval, Some(Duration::from_millis(500)));
        assert_eq!(flags.listen, Some(vec![Listen::Tcp(([127, 0, 0, 1], 9639).into())]));
        let kinds = parse("--guarded-ports=5432,{ports:30000-32767,new_connections_only:true}").unwrap();
        assert_eq!(
            kinds.guarded_ports.unwrap().to_string(),
            "[5432, {ports: 30000-32767, new_connections_only: true}]"
        );
        assert_eq!(parse("--guarded-ports []").unwrap().guarded_ports, Some(GuardedPorts::default()));
        assert_eq!(parse("").unwrap(), ConfigFile::default());
    }

    #[test]
    fn flags_refuse_the_values_the_file_refuses() {
        for line in [
            "--interfaces=",
            "--interfaces eth0,eth[1",
            "--xdp-mode Native",
            "--socket-filter on",
            "--socket-filter-loopback=yes",
            "--revoke-sessions drop",
            "--guarded-ports 0",
            "--guarded-ports=",
            "--guarded-ports={ports:5,new_connections_only:1}",
            "--max-databases 0",
            "--max-prefixes 0x10",
            "--denied-history-days 366",
            "--denied-history-mib 0",
            "--max-rules-per-database 10001",
            "--rescan-interval 10",
            "--listen 9639",
            "--allow-monitor=yes",
        ] {
            assert!(parse(line).is_err(), "{line} was accepted");
        }
    }
}
