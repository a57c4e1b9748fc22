//! Numbers on the screen: counters and their growth since the last reading.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use firewall_common::Reason;

use crate::bpf::Kernel;
use crate::cli::denied::{DeniedRow, Grouping, kernel_rows};
use crate::cli::seen_at_sockets::SeenByInterface;
use crate::cli::settings::Located;
use crate::cli::status::read_status_file;
use crate::status::Condition;
use crate::sync::{DatabaseSlot, Live};

/// Counter readings between two readings of the live state: names and slots seldom change.
const REREAD: u32 = 10;

/// Counter and its growth.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rate {
    pub total: u64,
    pub per_second: f64,
}

/// Figures of one database.
#[derive(Debug, Clone, Default)]
pub(super) struct Database {
    pub id: String,
    pub name: String,
    pub revision: Option<u64>,
    pub prefixes: usize,
    pub allowed: Rate,
    pub denied: Rate,
}

#[derive(Debug, Clone, Default)]
pub(super) struct TopState {
    pub live: Live,
    pub refreshes: u32,
    pub databases: BTreeMap<DatabaseSlot, Database>,
    pub reasons: Vec<(&'static str, bool, Rate)>,
    /// Packets that were refused at a socket, or would be, by the interface that received them.
    pub sockets: BTreeMap<String, Rate>,
    /// In descending order of packets.
    pub denied: Vec<DeniedRow>,
    /// Number of entries of the overlay in force.
    pub overlay: usize,
}

impl TopState {
    /// Reads the counters for the first time, without growth.
    pub fn new(kernel: &Kernel, directories: &Located) -> Result<Self> {
        let mut state = Self::default();
        state.refresh(kernel, directories, Duration::ZERO)?;
        Ok(state)
    }

    /// Reads the counters; `since` is the time since the previous reading.
    pub fn refresh(&mut self, kernel: &Kernel, directories: &Located, since: Duration) -> Result<()> {
        if self.refreshes.is_multiple_of(REREAD) {
            self.live = kernel.live()?;
        }
        self.refreshes += 1;
        let mut databases = BTreeMap::new();
        for (slot, one) in &self.live.databases {
            let (mut allowed, mut denied) = (0, 0);
            for counter in self
                .live
                .counters
                .iter()
                .filter(|(_, named)| named.database == *slot)
                .map(|(counter, _)| *counter)
            {
                let side = if counter == one.default_counter { &mut denied } else { &mut allowed };
                *side += kernel.hits(counter)?.packets;
            }
            let before = self.databases.get(slot).filter(|before| before.id == one.id.as_str());
            let database = Database {
                id: one.id.to_string(),
                name: one.name.clone(),
                revision: one.stamp.as_ref().map(|stamp| stamp.revision),
                prefixes: one.sources.len(),
                allowed: rate(before.map(|before| before.allowed), allowed, since),
                denied: rate(before.map(|before| before.denied), denied, since),
            };
            databases.insert(*slot, database);
        }
        let mut reasons = Vec::new();
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            let before = self.reasons.get(at).map(|(_, _, rate)| *rate);
            let total = kernel.reason(reason)?.packets;
            reasons.push((reason.name(), reason.passes(), rate(before, total, since)));
        }
        let seen = SeenByInterface::read(kernel)?;
        let refused = seen.iter().filter(|(_, seen)| seen.refused > 0).map(|(interface, seen)| {
            (interface.clone(), rate(self.sockets.get(interface).copied(), seen.refused, since))
        });
        self.sockets = refused.collect();
        self.databases = databases;
        self.reasons = reasons;
        let conditions = read_status_file(directories).map(|status| status.conditions).unwrap_or_default();
        self.overlay = conditions.iter().filter(|one| one.name == Condition::Overlay.name()).count();
        self.denied = kernel_rows(kernel, None, Grouping { lengths: (32, 128), by_kind: false })?;
        Ok(())
    }
}

/// Growth of a counter; zero for one that went back, since it belongs to a new object.
fn rate(before: Option<Rate>, total: u64, since: Duration) -> Rate {
    let grown = before.and_then(|before| total.checked_sub(before.total)).unwrap_or(0);
    let per_second = if since.is_zero() { 0.0 } else { grown as f64 / since.as_secs_f64() };
    Rate { total, per_second }
}
