//! Conversion of a policy into rule files.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use firewall_agent::sync::{Guards, LocalBlock, Ports};
use firewall_tests::lab::RuleFile;
use firewall_tests::packets::protocol;

use crate::kernel::LoadedFirewall;
use crate::policy::{Database, Owner, Policy};

/// Puts `policy` in force; a database that is added and removed leaves the tombstones.
pub fn put_policy_in_force(loaded: &mut LoadedFirewall, policy: &Policy) {
    let databases = policy.databases.iter().enumerate();
    let mut files: Vec<RuleFile> = databases.map(|(at, database)| active(policy, at, database)).collect();
    if policy.endpoints.iter().any(|endpoint| endpoint.owner == Owner::Closed) {
        let leaver = with_endpoints(RuleFile::new("leaver", 1), policy, Owner::Closed);
        loaded.put_in_force(&[leaver], &[]);
        files.push(RuleFile::new("leaver", 2).removed());
    }
    let ports = |ranges: &[RangeInclusive<u16>]| ranges.iter().cloned().flatten().collect::<Ports>();
    let guards = Guards::new(ports(&policy.guarded), &ports(&policy.new_connections));
    let blocks = policy.blocked.iter().enumerate().map(|(number, (network, at))| LocalBlock {
        id: format!("block:{number:04x}").parse().unwrap(),
        source: *network,
        database: at.map(|at| format!("db-{at}").parse().unwrap()),
        note: String::new(),
    });
    loaded.put_guards_in_force(&files, guards, blocks.collect());
}

fn active(policy: &Policy, at: usize, database: &Database) -> RuleFile {
    let file = with_endpoints(RuleFile::new(&format!("db-{at}"), 1), policy, Owner::Database(at));
    let file = if database.monitor { file.monitor() } else { file };
    database.allow.iter().fold(file, |file, (network, rule)| {
        file.rule(&format!("id: '{rule}', type: custom_range, cidr: '{network}'"))
    })
}

fn with_endpoints(file: RuleFile, policy: &Policy, owner: Owner) -> RuleFile {
    policy.endpoints.iter().filter(|endpoint| endpoint.owner == owner).fold(file, |file, endpoint| {
        let destination = match endpoint.address {
            Some(address) => SocketAddr::new(address, endpoint.port).to_string(),
            None => endpoint.port.to_string(),
        };
        if endpoint.protocol == protocol::TCP {
            file.endpoint(&destination)
        } else {
            file.udp_endpoint(&destination)
        }
    })
}
