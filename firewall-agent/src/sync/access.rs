//! Access of one source to one destination, by a live state.

use std::net::IpAddr;

use ipnet::IpNet;

use super::indices::CounterId;
use super::model::{Destination, Live, TableEntry};
use super::remainder::around;
use crate::rules::Mode;

/// Verdict about the first packet of a source, and its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing protects the destination.
    Unprotected,
    /// A rule allows the source, and counts on this counter.
    Allowed(CounterId),
    /// No rule allows the source, and monitor mode lets it pass.
    Monitored,
    /// No rule allows the source.
    Refused,
    /// A block list refuses the source.
    Blocked,
    /// A tombstone, or a guarded port without an endpoint.
    Closed,
}

impl Access {
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Self::Unprotected | Self::Allowed(_) | Self::Monitored)
    }
}

impl Live {
    /// The access of a source to a destination with an address.
    #[must_use]
    pub fn access(&self, source: IpAddr, to: &Destination) -> Access {
        match self.table.endpoints.deciding(to) {
            Some(TableEntry::Open { slot, .. }) if self.blocks.blocking(source, *slot).is_some() => {
                Access::Blocked
            }
            Some(TableEntry::Open { slot, mode, .. }) => {
                let sources = self.databases.get(slot).map(|database| &database.sources);
                let counter = around(IpNet::from(source)).find_map(|net| sources?.get(&net));
                match (counter, mode) {
                    (Some(counter), _) => Access::Allowed(*counter),
                    (None, Mode::Monitor) => Access::Monitored,
                    (None, Mode::Enforce) => Access::Refused,
                }
            }
            Some(TableEntry::Tombstone) => Access::Closed,
            None if self.guarded.contains(to.port) => Access::Closed,
            None => Access::Unprotected,
        }
    }
}
