//! Rules that give outgoing connections a source port: answers to it may arrive at a protected port.

use std::ops::RangeInclusive;

use super::ports::{runs, shown};
use super::{Ephemeral, Finding, Kind, Protected};

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masquerade {
    /// Location of the rule, for people.
    pub rule: String,
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
    let met = runs(protected.ports().iter().filter(|port| range.contains(port)));
    if met.is_empty() {
        return None;
    }
    let (shown_range, ports) = (shown(&range), met.iter().map(shown).collect::<Vec<_>>().join(", "));
    Some(Finding::new(
        Kind::Masquerade,
        one.rule.clone(),
        format!(
            "gives connections {from} ({shown_range}) as source ports, among them protected ones ({ports}): the programs \
             judge the answers like any packet, and such connections fail"
        ),
        advice(protected),
    ))
}

/// The longest range of ports that meets no protected one.
fn advice(protected: &Protected) -> String {
    let taken = protected.ports();
    let free = runs(RANDOM.filter(|port| !taken.contains(*port)));
    let free = free.into_iter().max_by_key(|run| run.end() - run.start()).unwrap_or(RANDOM);
    let free = shown(&free);
    format!("let the rule use other ports (nftables: `masquerade to :{free}`; iptables: `--to-ports {free}`)")
}
