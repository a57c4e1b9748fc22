//! Parser of the configuration file. It reports every error with its place and value, where serde alone would stop at
//! the first one.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum as _;

use super::file::KEYS;
use super::ports::{Entry, NEW_CONNECTIONS_ONLY, PORTS, port_range};
use super::values::{bound, databases_bound, days_bound, history_bound, interface, name, rules_bound};
use super::{ConfigFile, GuardedPorts, NO_INTERFACES, RevokeSessions, SocketFilterMode, XdpMode, duration};
use crate::rules::parser::{Document, Ending, Fields, Item, Report, flag, label};
use crate::rules::{Checked, Problem, TrustedKey};

/// Parses the configuration file. A missing key is accepted here: see [`super::Config::resolve`].
///
/// # Errors
/// Every problem of the file, in file order; or only the first one that prevents parsing a complete document.
pub fn read_config(bytes: &[u8]) -> Result<Checked<ConfigFile>, Vec<Problem>> {
    Document::read(bytes, Ending::Free, |top, report| config(&top, report))
}

fn config(top: &Item<'_, '_>, report: &mut Report) -> Option<ConfigFile> {
    let fields = Fields::named(top, KEYS, report)?;
    let path =
        |name, report: &mut Report| fields.optional(name).and_then(|item| item.text(report, absolute_path));
    let most = |name, report: &mut Report| fields.optional(name).and_then(|item| item.plain(report, bound));
    let truth = |name, report: &mut Report| fields.optional(name).and_then(|item| item.plain(report, flag));
    let span = |name, report: &mut Report| fields.optional(name).and_then(|item| item.text(report, duration));
    Some(ConfigFile {
        interfaces: fields.optional("interfaces").map(|item| interfaces(&item, report)),
        xdp_mode: fields.optional("xdp_mode").and_then(|item| item.text(report, xdp_mode)),
        rules_dir: path("rules_dir", report),
        managed_ranges: path("managed_ranges", report),
        blocked_ranges: path("blocked_ranges", report),
        trusted_keys: fields.optional("trusted_keys").map(|item| trusted_keys(&item, report)),
        state_dir: path("state_dir", report),
        bpffs_dir: path("bpffs_dir", report),
        node_name: fields.optional("node_name").and_then(|item| item.text(report, name)),
        listen: fields.optional("listen").map(|item| each(&item, report, FromStr::from_str)),
        control_socket: path("control_socket", report),
        guarded_ports: fields.optional("guarded_ports").map(|item| guarded_ports(&item, report)),
        socket_filter: fields.optional("socket_filter").and_then(|item| item.text(report, socket_filter)),
        socket_filter_cgroup: path("socket_filter_cgroup", report),
        socket_filter_loopback: truth("socket_filter_loopback", report),
        revoke_sessions: fields
            .optional("revoke_sessions")
            .and_then(|item| item.text(report, revoke_sessions)),
        allow_monitor: truth("allow_monitor", report),
        max_rules_per_database: fields
            .optional("max_rules_per_database")
            .and_then(|item| item.plain(report, rules_bound)),
        max_databases: fields.optional("max_databases").and_then(|item| item.plain(report, databases_bound)),
        max_endpoints: most("max_endpoints", report),
        max_prefixes: most("max_prefixes", report),
        max_rule_counters: most("max_rule_counters", report),
        denied_history_days: fields
            .optional("denied_history_days")
            .and_then(|item| item.plain(report, days_bound)),
        denied_history_mib: fields
            .optional("denied_history_mib")
            .and_then(|item| item.plain(report, history_bound)),
        packet_log: truth("packet_log", report),
        rescan_interval: span("rescan_interval", report),
        drift_interval: span("drift_interval", report),
        propagation_window: span("propagation_window", report),
    })
}

fn each<T>(list: &Item<'_, '_>, report: &mut Report, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
    list.list(report).filter_map(|item| item.text(report, &parse)).collect()
}

fn interfaces(list: &Item<'_, '_>, report: &mut Report) -> Vec<String> {
    if list.is_empty_list() {
        list.refuse(report, NO_INTERFACES);
    }
    each(list, report, interface)
}

fn guarded_ports(list: &Item<'_, '_>, report: &mut Report) -> GuardedPorts {
    if list.is_empty_list() {
        list.warn(report, "guards no port: a port that no rule file claims is open to everyone");
    }
    let entries = list.list(report).filter_map(|item| guarded_entry(&item, report));
    GuardedPorts::from_entries(entries.collect())
}

/// An entry of `guarded_ports`: a range, or a map with one and its kind of guard.
fn guarded_entry(item: &Item<'_, '_>, report: &mut Report) -> Option<Entry> {
    if !item.is_map() {
        return Some((item.plain(report, port_range)?, false));
    }
    let fields = Fields::named(item, &[PORTS, NEW_CONNECTIONS_ONLY], report)?;
    let only = fields.optional(NEW_CONNECTIONS_ONLY);
    let only = only.map_or(Some(false), |item| item.plain(report, flag));
    let ports = fields.required(PORTS, report)?.plain(report, port_range);
    Some((ports?, only?))
}

fn trusted_keys(list: &Item<'_, '_>, report: &mut Report) -> Vec<TrustedKey> {
    if list.is_empty_list() {
        list.refuse(report, "needs at least one key; omit trusted_keys to accept unsigned files");
    }
    each(list, report, FromStr::from_str)
}

fn xdp_mode(text: &str) -> Result<XdpMode, String> {
    XdpMode::from_str(text, false).map_err(|_| "must be native, generic or auto".to_owned())
}

fn socket_filter(text: &str) -> Result<SocketFilterMode, String> {
    SocketFilterMode::from_str(text, false).map_err(|_| "must be off, monitor or enforce".to_owned())
}

fn revoke_sessions(text: &str) -> Result<RevokeSessions, String> {
    RevokeSessions::from_str(text, false).map_err(|_| "must be keep or reset".to_owned())
}

fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(label(text)?);
    if path.is_absolute() { Ok(path) } else { Err("must be an absolute path".to_owned()) }
}
