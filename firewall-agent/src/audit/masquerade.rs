//! Rules that give outgoing connections a source port: answers to it may arrive at a protected port.

use std::ops::RangeInclusive;

use super::ports::{runs, shown};
use super::{Ephemeral, Finding, Kind, Protected};
use crate::rules::Protocol;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masquerade {
    /// Location of the rule, for people.
    pub rule: String,
    /// `None`: unknown, or both.
    pub protocol: Option<Protocol>,
    pub ports: SourcePorts,
}

/// Source ports after the rule, host byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePorts {
    /// Those of the sender, unless another connection has them.
    Unchanged,
    /// Random ones.
    Random,
    To(RangeInclusive<u16>),
}

/// Ports from which the kernel chooses for connections from a port of it.
const RANDOM: RangeInclusive<u16> = 1024..=u16::MAX;

/// Senders of unchanged ports are taken to have the ephemeral range of this namespace.
pub(super) fn finding(
    protected: &Protected,
    ephemeral: Option<&Ephemeral>,
    one: &Masquerade,
) -> Option<Finding> {
    let (range, from) = match &one.ports {
        SourcePorts::To(range) => (range.clone(), "its ports"),
        SourcePorts::Random => (RANDOM, "random ports"),
        SourcePorts::Unchanged => (ephemeral?.range.clone(), "the senders' ephemeral ports"),
    };
    let met = |protocol| runs(protected.cutting(protocol).iter().filter(|port| range.contains(port)));
    let cut = met(one.protocol);
    if cut.is_empty() {
        return None;
    }
    let is_tcp = one.protocol != Some(Protocol::Udp) && !met(Some(Protocol::Tcp)).is_empty();
    let by = if is_tcp { "" } else { " by UDP" };
    let (shown_range, ports) = (shown(&range), cut.iter().map(shown).collect::<Vec<_>>().join(", "));
    Some(Finding::new(
        Kind::Masquerade,
        one.rule.clone(),
        format!(
            "gives connections {from} ({shown_range}) as source ports, among them protected ones ({ports}): the programs \
             judge the answers like any packet, and such connections fail{by}"
        ),
        advice(protected, is_tcp),
    ))
}

/// The longest range of ports that meets no protected one, and, where answers of TCP are dropped, the guard that lets
/// them pass.
fn advice(protected: &Protected, is_tcp: bool) -> String {
    let taken = protected.ports();
    let free = runs(RANDOM.filter(|port| !taken.contains(*port)));
    let free = free.into_iter().max_by_key(|run| run.end() - run.start()).unwrap_or(RANDOM);
    let free = shown(&free);
    let other =
        "; or give the entry of `guarded_ports` `new_connections_only: true`, which lets answers of TCP pass";
    let other = if is_tcp { other } else { "" };
    format!(
        "let the rule use other ports (nftables: `masquerade to :{free}`; iptables: `--to-ports {free}`){other}"
    )
}
