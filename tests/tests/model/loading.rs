//! Conversion of a policy into rule files.

use std::fmt::Write as _;
use std::path::Path;

use firewall_agent::sync::Live;
use firewall_tests::packets::protocol;

use crate::kernel::put_in_force;
use crate::policy::{Database, Endpoint, Holder, Policy};

/// Puts `policy` in force below `bpffs_dir`; a database that is added and removed leaves the tombstones.
pub fn put_policy_in_force(bpffs_dir: &Path, policy: &Policy) -> Live {
    let closed: Vec<Endpoint> = held_by(policy, Holder::Closed);
    let mut files: Vec<String> =
        policy.databases.iter().enumerate().map(|(at, database)| active(policy, at, database)).collect();
    if !closed.is_empty() {
        let mut leaver = top("leaver", 1);
        write_endpoints(&mut leaver, &closed);
        leaver.push_str("rules: []\n...\n");
        put_in_force(bpffs_dir, &[leaver], &[]);
        files.push(top("leaver", 2) + "state: removed\n...\n");
    }
    put_in_force(bpffs_dir, &files, &policy.guarded)
}

fn active(policy: &Policy, at: usize, database: &Database) -> String {
    let mut file = top(&format!("db-{at}"), 1);
    if database.monitor {
        file.push_str("mode: monitor\n");
    }
    write_endpoints(&mut file, &held_by(policy, Holder::Database(at)));
    file.push_str(if database.allow.is_empty() { "rules: []\n" } else { "rules:\n" });
    for (network, rule) in &database.allow {
        writeln!(file, "  - {{id: '{rule}', type: custom_range, cidr: '{network}'}}").unwrap();
    }
    file.push_str("...\n");
    file
}

fn top(id: &str, revision: u32) -> String {
    format!(
        "schema_version: 1\ndatabase_id: {id}\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\n"
    )
}

fn write_endpoints(file: &mut String, endpoints: &[Endpoint]) {
    file.push_str("endpoints:\n");
    for endpoint in endpoints {
        let protocol = if endpoint.protocol == protocol::TCP { "tcp" } else { "udp" };
        write!(file, "  - {{port: {}, protocol: {protocol}", endpoint.port).unwrap();
        if let Some(address) = endpoint.address {
            write!(file, ", address: '{address}'").unwrap();
        }
        file.push_str("}\n");
    }
}

fn held_by(policy: &Policy, holder: Holder) -> Vec<Endpoint> {
    policy.endpoints.iter().filter(|endpoint| endpoint.holder == holder).copied().collect()
}
