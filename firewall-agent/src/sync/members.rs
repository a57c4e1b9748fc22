//! Who is asked about a packet whose port cannot be known.

use std::{collections::BTreeSet, net::IpAddr};

use super::model::{Claim, Endpoints, Ports, RuleSlot, Slot, Table, Target};
use crate::rules::{Mode, Protocol};

/// What stands at one address, whatever the port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// A tombstone, or a guarded port that no database claims, applies at the address.
    pub closed: bool,
    /// The databases with an endpoint there, wildcards included; enforcing ones first.
    pub databases: BTreeSet<(Mode, Slot, RuleSlot)>,
}

impl Table {
    /// The table of these endpoints. Members are worked out for every address that has an endpoint or a tombstone of
    /// its own and for all others together; where nothing stands there are none.
    #[must_use]
    pub fn new(endpoints: Endpoints, guarded: &Ports) -> Self {
        let addresses: BTreeSet<Option<IpAddr>> =
            endpoints.keys().map(|target| target.address).chain([None]).collect();
        let members = addresses
            .into_iter()
            .map(|address| (address, at(address, &endpoints, guarded)))
            .filter(|(_, members)| members.closed || !members.databases.is_empty())
            .collect();
        Self { endpoints, members }
    }
}

fn at(address: Option<IpAddr>, endpoints: &Endpoints, guarded: &Ports) -> Members {
    let mut members = Members::default();
    let mut claimed: BTreeSet<(u16, Protocol)> = BTreeSet::new();
    for (target, claim) in endpoints {
        if target.address.is_some() && target.address != address {
            continue;
        }
        match claim {
            Claim::Closed => members.closed |= !reopened(target, address, endpoints),
            Claim::Open { slot, mode, default_line } => {
                members.databases.insert((*mode, *slot, *default_line));
                claimed.insert((target.port, target.protocol));
            }
        }
    }
    members.closed |= guarded.iter().any(|port| {
        [Protocol::Tcp, Protocol::Udp].iter().any(|protocol| !claimed.contains(&(*port, *protocol)))
    });
    members
}

/// A wildcard tombstone does not hold at an address with an endpoint of its own on the same port and protocol.
fn reopened(tombstone: &Target, address: Option<IpAddr>, endpoints: &Endpoints) -> bool {
    tombstone.address.is_none()
        && address.is_some()
        && matches!(endpoints.get(&Target { address, ..*tombstone }), Some(Claim::Open { .. }))
}
