//! Packets by database and verdict: allowed by its rules, or denied by default.

use std::collections::BTreeMap;

use anyhow::Result;
use firewall_common::Tally;

use crate::http::Counters;
use crate::http::published_state::PublishedState;

/// Last exported values of every live database. They never decrease while the database is live: a scraper would take a
/// lower counter for a reset, and count all of it as new packets.
#[derive(Debug, Default)]
pub(super) struct Flows(pub BTreeMap<String, Flow>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flow {
    pub allowed: Tally,
    pub denied: Tally,
}

impl Flows {
    /// Reads the rule counters of every database.
    pub fn read(&mut self, snapshot: &PublishedState, counters: &dyn Counters) -> Result<()> {
        let mut flows = BTreeMap::new();
        for (database, of_database) in &*snapshot.counters {
            let mut allowed = of_database.retired;
            for counter in &of_database.allowing {
                allowed += counters.tally(*counter)?;
            }
            let before = self.0.get(database).copied().unwrap_or_default();
            let denied = higher(before.denied, counters.tally(of_database.default)?);
            flows.insert(database.clone(), Flow { allowed: higher(before.allowed, allowed), denied });
        }
        self.0 = flows;
        Ok(())
    }
}

fn higher(one: Tally, other: Tally) -> Tally {
    Tally { packets: one.packets.max(other.packets), bytes: one.bytes.max(other.bytes) }
}
