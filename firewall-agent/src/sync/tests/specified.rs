//! Specified result of a publish, computed by a simple slow method.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::ADDRESSES;
use crate::rules::{Mode, Protocol};
use crate::sync::model::{DatabaseSlot, Destination, Endpoints, Live, TableEntry};
use crate::sync::{Desired, Members, Ports, Published};

/// The endpoint table as specified, computed by a simple slow method.
fn specified(desired: &Desired, before: &Live, after: &Live, done: &Published) -> Endpoints {
    let mut open = Endpoints::new();
    let mut closed: BTreeSet<Destination> = desired.closed.iter().copied().collect();
    let open_before = |slot: DatabaseSlot| {
        let endpoints = before.table.endpoints.iter();
        endpoints.filter(move |(_, claim)| claim.slot() == Some(slot)).map(|(to, claim)| (*to, *claim))
    };
    let covered = |by: &BTreeSet<Destination>, to: &Destination| by.iter().any(|one| one.covers(to));
    for (slot, database) in &before.databases {
        let Some(wanted) = desired.databases.get(&database.id) else {
            for (to, claim) in open_before(*slot) {
                if desired.removed.contains(&database.id) {
                    closed.insert(to);
                } else {
                    open.insert(
                        to,
                        with_mode(claim, |mode| if desired.monitor { mode } else { Mode::Enforce }),
                    );
                }
            }
            continue;
        };
        closed.extend(open_before(*slot).map(|(to, _)| to).filter(|to| !covered(&wanted.destinations, to)));
        if !done.failed.contains_key(&database.id) {
            continue;
        }
        let crowded = done.crowded.contains(&database.id);
        let mode = |mode| match (wanted.mode, crowded) {
            (Mode::Monitor, false) => Mode::Monitor,
            (Mode::Monitor, true) if desired.monitor => mode,
            (Mode::Monitor, true) | (Mode::Enforce, _) => Mode::Enforce,
        };
        let endpoints: Vec<_> = open_before(*slot).map(|(to, claim)| (to, with_mode(claim, mode))).collect();
        let direct = endpoints.iter().filter(|(to, _)| covered(&wanted.destinations, to));
        open.extend(direct.copied());
        for to in &wanted.destinations {
            if let Some((_, claim)) = endpoints.iter().find(|(wide, _)| wide.covers(to))
                && !open.contains_key(to)
            {
                open.insert(*to, *claim);
            }
        }
    }
    for (id, wanted) in &desired.databases {
        closed.extend(&wanted.destinations);
        if done.failed.contains_key(id) {
            continue;
        }
        let slot = after.slot(id).unwrap();
        let claim = TableEntry::Open { slot, mode: wanted.mode, default_counter: slot.default_counter() };
        let own: BTreeSet<_> =
            open_before(slot).map(|(to, _)| to).filter(|_| before.slot(id) == Some(slot)).collect();
        let opens = |to: &&Destination| !desired.withheld.contains(*to) || covered(&own, to);
        let opens: BTreeSet<_> = wanted.destinations.iter().filter(opens).copied().collect();
        let below = own.iter().filter(|to| covered(&wanted.destinations, to) && !covered(&opens, to));
        open.extend(opens.iter().chain(below).map(|to| (*to, claim)));
    }
    closed.retain(|to| {
        let is_open = open.keys().any(|one| one.covers(to));
        let is_guarded = !desired.judges_sockets && desired.guarded.strict().contains(to.port);
        !is_open && !is_guarded && !desired.opened.contains(to)
    });
    open.extend(closed.into_iter().map(|to| (to, TableEntry::Tombstone)));
    open
}

fn with_mode(claim: TableEntry, turn: impl Fn(Mode) -> Mode) -> TableEntry {
    match claim {
        TableEntry::Open { slot, mode, default_counter } => {
            TableEntry::Open { slot, mode: turn(mode), default_counter }
        }
        TableEntry::Tombstone => TableEntry::Tombstone,
    }
}

/// Address index entry of an address, computed by a simple slow method.
fn members(address: Option<IpAddr>, live: &Live) -> Members {
    let endpoints = &live.table.endpoints;
    let mut members = Members::default();
    let mut claimed = BTreeSet::new();
    for (to, claim) in endpoints.iter().filter(|(to, _)| to.address.is_none() || to.address == address) {
        match claim {
            TableEntry::Tombstone => {
                let own = endpoints.get(&Destination { address, ..*to });
                let reopened = to.address.is_none() && own.is_some_and(|own| own.slot().is_some());
                members.closed |= !reopened;
            }
            TableEntry::Open { slot, mode, default_counter } => {
                members.databases.insert((*mode, *slot, *default_counter));
                claimed.insert((to.port, to.protocol));
            }
        }
    }
    let guarded = live.guarded.ports();
    let mut guarded = guarded.iter().flat_map(|port| [(port, Protocol::Tcp), (port, Protocol::Udp)]);
    members.closed |= guarded.any(|port| !claimed.contains(&port));
    members
}

/// Checks that table, address index and ports are as specified.
pub fn assert_specified(desired: &Desired, before: &Live, after: &Live, done: &Published, what: &str) {
    let expected = specified(desired, before, after, done);
    assert_eq!(after.table.endpoints, expected, "{what}: {done:?}: {desired:?}");
    assert_eq!(after.guarded, desired.guarded, "{what}");
    let ports: Ports = after.table.endpoints.keys().map(|to| to.port).collect();
    assert_eq!(after.claimed, ports, "{what}");
    for address in ADDRESSES {
        let address = address.map(|text| text.parse().unwrap());
        let found = after.table.members.get(&address).or_else(|| after.table.members.get(&None));
        assert_eq!(found.cloned().unwrap_or_default(), members(address, after), "{what}: {address:?}");
    }
}
