//! The rule set in force, as a rule file of the agent and as the model's policy.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use firewall_tests::lab::RuleFile;
use firewall_tests::packets::protocol::{TCP, UDP};
use ipnet::IpNet;

use crate::decision::decide;
use crate::parsed_flow::{ParsedFlow, parse_flow};
use crate::policy::{Database, Endpoint, Owner, Policy};

pub const PORT: u16 = 30_092;
pub const SERVERS: [&str; 2] = ["192.0.2.10", "2001:db8:2::10"];
/// Sources of the established connections, always allowed.
pub const ALLOWED: [&str; 2] = ["203.0.113.5", "2001:db8:a110::5"];
/// A source that is always allowed and that tools may forge.
const FORGED: &str = "203.0.113.6";
/// Sources of the tools, unless they forge others.
pub const SENDER: [&str; 2] = ["192.0.2.66", "2001:db8:2::66"];
/// The lab's default guarded ports.
const GUARDED: [RangeInclusive<u16>; 2] = [5_432..=5_432, 30_000..=32_767];
const PASSING: [&str; 4] = ["not_ip", "not_protected", "allowed", "would_deny"];

/// A database with a TCP and a UDP endpoint on both addresses of its host.
#[derive(Clone, Debug)]
pub struct RuleSet {
    sources: Vec<IpAddr>,
    policy: Policy,
}

impl RuleSet {
    /// Allows the sources of the established connections, the forged one, and those of the tools if `allows_tools`.
    pub fn new(allows_tools: bool) -> Self {
        let sources = ALLOWED.into_iter().chain([FORGED]);
        let sources = sources.chain(SENDER.into_iter().filter(|_| allows_tools));
        let sources: Vec<IpAddr> = sources.map(|one| one.parse().unwrap()).collect();
        let endpoints = SERVERS.into_iter().flat_map(|server| {
            let address = Some(server.parse().unwrap());
            [TCP, UDP].map(|protocol| Endpoint { address, port: PORT, protocol, owner: Owner::Database(0) })
        });
        let allow = (1..).zip(&sources).map(|(rule, source)| (IpNet::from(*source), rule)).collect();
        let policy = Policy {
            endpoints: endpoints.collect(),
            databases: vec![Database { allow, monitor: false }],
            guarded: GUARDED.to_vec(),
            ..Policy::default()
        };
        Self { sources, policy }
    }

    pub fn file(&self) -> RuleFile {
        let destinations = [format!("{}:{PORT}", SERVERS[0]), format!("[{}]:{PORT}", SERVERS[1])];
        let file = destinations
            .iter()
            .fold(RuleFile::new("orders", 1), |file, to| file.endpoint(to).udp_endpoint(to));
        self.sources.iter().fold(file, |file, source| file.allow(&IpNet::from(*source).to_string()))
    }

    /// Returns the model's reason for a frame.
    pub fn reason(&self, frame: &[u8]) -> &'static str {
        decide(&self.policy, frame).reason
    }

    pub fn allows(&self, source: IpAddr) -> bool {
        self.sources.contains(&source)
    }

    /// Returns whether a frame belongs to an established connection.
    pub fn is_of_session(frame: &[u8]) -> bool {
        let ParsedFlow::Aimed { source, .. } = parse_flow(frame) else { return false };
        ALLOWED.iter().any(|one| one.parse() == Ok(source))
    }

    pub fn guards(port: u16) -> bool {
        GUARDED.iter().any(|range| range.contains(&port))
    }
}

/// Returns whether a packet with this reason passes.
pub fn passes(reason: &str) -> bool {
    PASSING.contains(&reason)
}
