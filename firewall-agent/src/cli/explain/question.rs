//! What `explain` is asked: one packet for each endpoint that is meant.

use std::net::IpAddr;

use crate::sync::{Claim, Live, Question, Target};

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
            targets.iter().filter_map(|target| Question::new(source, *target, live)).collect();
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
    let question = Question::new(source, target, live)
        .ok_or_else(|| format!("source {source} and target {target}: not of the same address family"))?;
    Ok(vec![question])
}
