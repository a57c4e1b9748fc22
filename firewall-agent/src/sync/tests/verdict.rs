//! Verdicts of a live state.

use std::net::IpAddr;

use crate::rules::Mode;
use crate::sync::{DatabaseSlot, Destination, Live, TableEntry};

/// Returns `true` if a TCP packet from `source` to `destination` that cannot open a connection passes, as the XDP
/// program decides.
pub fn passes(live: &Live, source: IpAddr, destination: &Destination) -> bool {
    let endpoints = &live.table.endpoints;
    let claim = live
        .claimed
        .contains(destination.port)
        .then(|| endpoints.get(destination).or_else(|| endpoints.get(&destination.everywhere())));
    match claim.flatten() {
        Some(TableEntry::Tombstone) => false,
        Some(TableEntry::Open { slot, .. }) if live.blocks.blocking(source, *slot).is_some() => false,
        Some(TableEntry::Open { mode: Mode::Monitor, .. }) => true,
        Some(TableEntry::Open { slot, .. }) => {
            live.databases.get(slot).is_some_and(|database| match source {
                IpAddr::V4(source) => database.sources.v4.keys().any(|net| net.contains(&source)),
                IpAddr::V6(source) => database.sources.v6.keys().any(|net| net.contains(&source)),
            })
        }
        None => !live.guarded.strict().contains(destination.port),
    }
}

/// The owner of a destination: a move between databases closes it for a moment, intentionally.
/// Returns `true` if every source passes there.
pub fn is_monitored(live: &Live, destination: &Destination) -> bool {
    let entry = live.table.endpoints.deciding(destination);
    matches!(entry, Some(TableEntry::Open { mode: Mode::Monitor, .. }))
}

pub fn owner(live: &Live, destination: &Destination) -> Option<DatabaseSlot> {
    let endpoints = &live.table.endpoints;
    match endpoints.get(destination).or_else(|| endpoints.get(&Destination { address: None, ..*destination }))
    {
        Some(TableEntry::Open { slot, .. }) => Some(*slot),
        Some(TableEntry::Tombstone) | None => None,
    }
}
