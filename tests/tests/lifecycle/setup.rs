//! The hosts and the rule file of these tests: clients with allowed and with denied addresses.

use std::fs;

use firewall_tests::lab::{Agent, Builder, RuleFile, TestHost};
use serde_json::Value;

pub const DATABASE: &str = "orders";
pub const RULE_FILE: &str = "orders.yaml";
pub const PORT: u16 = 30_092;
pub const SERVERS: [&str; 2] = ["192.0.2.10", "2001:db8:2::10"];
pub const ALLOWED: [&str; 2] = ["192.0.2.20", "2001:db8:2::20"];
pub const DENIED: [&str; 2] = ["192.0.2.66", "2001:db8:2::66"];

/// Returns two hosts on one wire with the rule file; no agent runs.
pub fn hosts() -> TestHost {
    builder().build()
}

pub fn builder() -> Builder<'static> {
    TestHost::builder()
        .clients(&["192.0.2.20/24", "2001:db8:2::20/64", "192.0.2.66/24", "2001:db8:2::66/64"])
        .rules(rule_file(1))
}

/// Returns the database's file, with UDP endpoints for the traffic and TCP endpoints beside them.
pub fn rule_file(revision: u64) -> RuleFile {
    let destinations = [format!("{}:{PORT}", SERVERS[0]), format!("[{}]:{PORT}", SERVERS[1])];
    destinations
        .iter()
        .fold(RuleFile::new(DATABASE, revision), |file, to| file.udp_endpoint(to).endpoint(to))
        .rule("id: fr-1, type: custom_range, cidr: 192.0.2.16/28, label: Office")
        .allow("2001:db8:2::20/128")
}

/// Returns the daemon's last status, which is readable whatever happened to the pins.
pub fn last_status(host: &TestHost) -> Value {
    serde_json::from_str(&fs::read_to_string(host.state_dir().join("status.json")).unwrap()).unwrap()
}

/// Returns the number of repairs of this kind.
pub fn repairs(host: &TestHost, kind: &str) -> u64 {
    last_status(host)["repairs"][kind].as_u64().unwrap_or(0)
}

pub fn wait_for_ready(host: &TestHost, agent: &mut Agent, ready: bool) {
    let waited = agent.wait_until(&format!("ready: {ready}"), || last_status(host)["ready"] == ready);
    waited.unwrap_or_else(|error| panic!("{:#}: {error:#}", last_status(host)));
}
