//! Rules that rewrite a packet's destination after the programs have judged it.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::protected::PROTOCOLS;
use super::{Finding, Kind, Protected};
use crate::rules::Protocol;

/// One rule. Unknown parts of its condition count as no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translation {
    /// Location of the rule, for people.
    pub rule: String,
    pub protocol: Option<Protocol>,
    /// Destination address before.
    pub address: Option<IpAddr>,
    /// Destination port before, host byte order.
    pub port: Option<u16>,
    /// Destination address after; `None` when unknown. TPROXY leaves it as it is.
    pub new_address: Option<IpAddr>,
    pub new_ports: NewPorts,
    /// It writes into each packet, without a connection.
    pub stateless: bool,
}

/// Destination port after, host byte order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NewPorts {
    #[default]
    Unchanged,
    To(RangeInclusive<u16>),
    /// From a map, or otherwise not evident from the rule.
    Unknown,
}

pub(super) fn finding(protected: &Protected, one: &Translation) -> Option<Finding> {
    let after = match (&one.new_ports, one.port) {
        (NewPorts::To(ports), _) => Some(ports.clone()),
        (NewPorts::Unchanged, Some(port)) => Some(port..=port),
        (NewPorts::Unchanged, None) | (NewPorts::Unknown, _) => None,
    };
    let reaches = after.clone().is_none_or(|ports| protected.has_any_of(ports, one.protocol));
    if !reaches || is_judged_before(protected, one) {
        return None;
    }
    let is_covered = is_judged_after(protected, one, after.as_ref());
    let ports = after.map_or("a port that the rule does not state".to_owned(), |ports| {
        let (first, last) = ports.into_inner();
        if first == last { format!("port {first}") } else { format!("ports {first}-{last}") }
    });
    let at = one.new_address.map_or(String::new(), |address| format!(" of {address}"));
    let from = one.port.map_or("any port".to_owned(), |port| format!("port {port}"));
    let (kind, verb) = if one.stateless { (Kind::Rewrite, "rewrites") } else { (Kind::Dnat, "redirects") };
    let finding = Finding::new(
        kind,
        one.rule.clone(),
        format!("{verb} packets for {from} to {ports}{at}: the programs see the original destination only"),
        "remove the rule, guard the original port (`guarded_ports`), or claim it with an endpoint".to_owned(),
    );
    Some(Finding { socket_filter_covers: is_covered, ..finding })
}

/// Returns `true` if the socket filter judges every packet by its new destination. It knows no database for an address
/// that no endpoint names, and judges such packets at guarded ports only.
fn is_judged_after(protected: &Protected, one: &Translation, after: Option<&RangeInclusive<u16>>) -> bool {
    let is_within = |port: &u16| after.is_none_or(|ports| ports.contains(port));
    let protocols = PROTOCOLS.into_iter().filter(|each| one.protocol.is_none_or(|own| own == *each));
    protected.ports().iter().filter(is_within).all(|port| {
        protocols
            .clone()
            .filter(|each| protected.has_port(port, *each))
            .all(|each| protected.judges(one.new_address, port, each))
    })
}

/// Returns `true` if the programs judge every packet that the rule matches, by its original destination.
fn is_judged_before(protected: &Protected, one: &Translation) -> bool {
    let mut protocols = PROTOCOLS.into_iter().filter(|each| one.protocol.is_none_or(|own| own == *each));
    one.port.is_some_and(|port| protocols.all(|each| protected.judges(one.address, port, each)))
}
