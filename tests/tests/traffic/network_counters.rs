//! Counters of the kernel about the link and the network stack of a host.

use std::fs;

use firewall_tests::lab::{Host, INTERFACE};

/// Returns the number of frames that the other end has taken from this host's interface.
pub fn transmitted(host: &Host) -> u64 {
    const TRANSMITTED: usize = 9;
    let _inside = host.enter().unwrap();
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(INTERFACE)?.strip_prefix(':'));
    line.unwrap().split_whitespace().nth(TRANSMITTED).unwrap().parse().unwrap()
}

/// Returns the number of IP packets of both families that the host's network stack has received.
pub fn received(host: &Host) -> u64 {
    let _inside = host.enter().unwrap();
    let ipv4 = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut rows = ipv4.lines().filter_map(|line| line.strip_prefix("Ip: ")).map(str::split_whitespace);
    let (names, numbers) = (rows.next().unwrap(), rows.next().unwrap());
    let ipv4 = names.zip(numbers).find(|(name, _)| *name == "InReceives").unwrap().1;
    let ipv6 = fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
    let ipv6 = ipv6.lines().find_map(|line| line.strip_prefix("Ip6InReceives")).unwrap();
    [ipv4, ipv6].iter().map(|number| number.trim().parse::<u64>().unwrap()).sum()
}
