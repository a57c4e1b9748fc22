//! UDP sockets at guarded ports that no rule file claims: perhaps of a resolver that chooses its own ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::ports::{runs, shown};
use super::{Finding, Kind, Listener, Protected};
use crate::rules::Protocol;

/// Most port runs in one finding.
const SHOWN: usize = 6;

pub(super) fn findings(protected: &Protected, listeners: &[Listener]) -> Vec<Finding> {
    let mut by_address: BTreeMap<IpAddr, BTreeSet<u16>> = BTreeMap::new();
    let is_affected = |one: &&Listener| {
        let is_local = one.address.is_loopback() || one.address.is_multicast();
        one.protocol == Protocol::Udp && !is_local && protected.is_closed(one.address, one.port, one.protocol)
    };
    for one in listeners.iter().filter(is_affected) {
        by_address.entry(one.address).or_default().insert(one.port);
    }
    by_address.into_iter().map(|(address, ports)| finding(address, &ports)).collect()
}

fn finding(address: IpAddr, ports: &BTreeSet<u16>) -> Finding {
    let runs = runs(ports.iter().copied());
    let mut names: Vec<String> = runs.iter().take(SHOWN).map(shown).collect();
    if let Some(more) = runs.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        names.push(format!("and {more} more"));
    }
    let plural = if ports.len() == 1 { "port" } else { "ports" };
    Finding::new(
        Kind::Resolver,
        format!("{address}/udp, {plural} {}", names.join(", ")),
        "an unconnected UDP socket at a guarded port that no rule file claims: the programs drop every packet to it, also \
         the answers that a resolver or another client waits for there"
            .to_owned(),
        "let the resolver use ports outside `guarded_ports` (unbound: outgoing-port-avoid; dnsmasq: min-port, max-port; BIND: \
         avoid-v4-udp-ports), or claim the port if it is a server's; `new_connections_only` lets answers of TCP pass, none of UDP"
            .to_owned(),
    )
}
