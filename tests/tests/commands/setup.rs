//! A host with one database of each kind in force.

use std::io::pipe;
use std::process::Command;

use firewall_tests::lab::{Answer, RangesFile, RuleFile, TestHost, agent_binary, database_of};

pub const ORDERS: &str = "orders";
pub const WIDE: &str = "wide";
pub const WATCHED: &str = "watched";
pub const GONE: &str = "gone";

/// Returns a host with a running agent: all databases but the removed `gone` in force, a broken file rejected.
pub fn populated() -> TestHost {
    let orders = RuleFile::new(ORDERS, 1)
        .field("name: Orders")
        .endpoint("192.0.2.10:30092")
        .endpoint("[2001:db8:2::10]:30092")
        .udp_endpoint("[2001:db8:2::10]:30092")
        .rule("id: fr-1, type: custom_range, cidr: 203.0.113.0/24, label: Office network")
        .rule("id: fr-2, type: managed_range, range_id: man-example")
        .internal_range("10.231.23.0/24", "cluster nodes");
    let wide = RuleFile::new(WIDE, 1).endpoint("30100").allow("203.0.113.0/25").allow("2001:db8:4::/48");
    let watched = RuleFile::new(WATCHED, 1).monitor().endpoint("192.0.2.10:30200").allow("203.0.113.0/24");
    let host = TestHost::builder()
        .config("allow_monitor: true\n")
        .ranges(ranges(1, RANGE))
        .rules(orders)
        .rules(wide)
        .rules(watched)
        .rules(RuleFile::new(GONE, 1).endpoint("192.0.2.10:20300"))
        .start();
    for id in [ORDERS, WIDE, WATCHED, GONE] {
        host.until_revision(id, 1);
    }
    host.push(&RuleFile::new(GONE, 2).removed().endpoint("192.0.2.10:20300"));
    host.push(&RuleFile::new("broken", 1).endpoint("192.0.2.10:30400").allow("203.0.113.300/24"));
    host.until_rejected("broken.yaml");
    host.until("gone has left", |status| database_of(status, GONE)["revision"].is_null());
    host
}

/// CIDRs of the managed range.
pub const RANGE: &[&str] = &["198.51.100.7/32", "2001:db8:4::7/128"];

/// Returns the managed ranges with these CIDRs.
pub fn ranges(revision: u64, cidrs: &[&str]) -> RangesFile {
    RangesFile::new(revision).range("man-example", cidrs)
}

/// Runs the program on a machine without an agent.
pub fn alone(arguments: &[&str]) -> Answer {
    Answer::of(Command::new(agent_binary().unwrap()).args(arguments)).unwrap()
}

/// Runs the command with a stdout that has no reader.
pub fn into_closed_pipe(mut command: Command) -> Answer {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    Answer::of(command.stdout(writer)).unwrap()
}
