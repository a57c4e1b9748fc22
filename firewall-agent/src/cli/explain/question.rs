//! What `explain` is asked: one packet for each endpoint that is meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::sync::{Claim, Live, Target};

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    pub source: IpAddr,
    /// Where the packet goes, as asked or as in the endpoint table.
    pub target: Target,
    /// The destination address in the packet: for a wildcard endpoint some address that no endpoint names.
    pub destination: IpAddr,
}

/// Reads the arguments.
///
/// # Errors
/// What is wrong with them, quoting them.
pub(super) fn read(source: &str, target: &str, live: &Live) -> Result<Vec<Question>, String> {
    let source: IpAddr =
        source.parse().map_err(|_| format!("source {source:?}: not an IPv4 or IPv6 address"))?;
    if let Some((slot, database)) = live.databases.iter().find(|(_, one)| one.id.as_str() == target) {
        let targets: Vec<Target> = live
            .table
            .endpoints
            .iter()
            .filter(|(_, claim)| matches!(claim, Claim::Open { slot: owner, .. } if owner == slot))
            .map(|(target, _)| *target)
            .collect();
        let questions: Vec<Question> =
            targets.iter().filter_map(|target| question(source, *target, live)).collect();
        return if questions.is_empty() {
            Err(format!("database {}: has no endpoint that a packet from {source} could go to", database.id))
        } else {
            Ok(questions)
        };
    }
    let place = target.parse().ok().filter(|target: &Target| target.address.is_some());
    let target = place.ok_or_else(|| {
        format!("target {target:?}: neither a database in the kernel nor ADDRESS:PORT[/udp]")
    })?;
    let question = question(source, target, live)
        .ok_or_else(|| format!("source {source} and target {target}: not of the same address family"))?;
    Ok(vec![question])
}

/// `None` when source and destination are of different families.
fn question(source: IpAddr, target: Target, live: &Live) -> Option<Question> {
    let destination = match target.address {
        Some(address) => address,
        None => unnamed(source, live)?,
    };
    (source.is_ipv4() == destination.is_ipv4()).then_some(Question { source, target, destination })
}

/// An address of the source's family at which only wildcards apply.
fn unnamed(source: IpAddr, live: &Live) -> Option<IpAddr> {
    let named = |address: &IpAddr| live.table.members.contains_key(&Some(*address));
    (1..=u8::MAX)
        .map(|host| match source {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into())),
        })
        .find(|address| !named(address))
}
