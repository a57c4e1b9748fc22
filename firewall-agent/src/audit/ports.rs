//! Protected ports within the host's ephemeral port range.

use std::ops::RangeInclusive;

use super::{Ephemeral, Finding, Kind, Protected};

pub(super) fn findings(protected: &Protected, ephemeral: &Ephemeral) -> Vec<Finding> {
    let is_unreserved = |port: &u16| {
        ephemeral.range.contains(port) && !ephemeral.reserved.iter().any(|range| range.contains(port))
    };
    let (first, last) = ephemeral.range.clone().into_inner();
    let finding = |run: RangeInclusive<u16>| {
        let meaning = format!(
            "inside the host's ephemeral port range ({first}-{last}): replies to its own connections are \
             judged like any packet, and a socket that listens there by chance is subject to this port's \
             rules"
        );
        let advice = format!(
            "sysctl -w net.ipv4.ip_local_reserved_ports={}, or move net.ipv4.ip_local_port_range",
            shown(&run)
        );
        Finding::new(Kind::Ephemeral, shown(&run), meaning, advice)
    };
    runs(protected.ports().iter().filter(is_unreserved)).into_iter().map(finding).collect()
}

/// Joins ports in ascending order to ranges.
pub(super) fn runs(ports: impl Iterator<Item = u16>) -> Vec<RangeInclusive<u16>> {
    let mut runs: Vec<RangeInclusive<u16>> = Vec::new();
    for port in ports {
        match runs.last_mut() {
            Some(run) if u32::from(*run.end()) + 1 == u32::from(port) => *run = *run.start()..=port,
            _ => runs.push(port..=port),
        }
    }
    runs
}

pub(super) fn shown(run: &RangeInclusive<u16>) -> String {
    let (first, last) = (run.start(), run.end());
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}
