//! What must be remembered over a restart and a reboot beside the files themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bpf::LineHits;
use crate::rules::DatabaseId;
use crate::sync::{Claim, Desired, Live, RuleSlot, Target};

/// Kept in the last-good store as JSON; a version of this agent reads what the one before it wrote.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// The time that expiry has reached; it never goes back.
    pub high_water: Timestamp,
    /// Databases whose next file may have any revision.
    pub rebased: BTreeSet<String>,
    /// Closed destinations, and the database that was there.
    pub tombstones: BTreeMap<String, String>,
    /// The database that each rule file was last taken for.
    pub files: BTreeMap<PathBuf, String>,
    /// When an operator took everything down; it stays down until `attach`.
    pub detached: Option<Timestamp>,
    /// What lines that left had counted, by database: its totals never fall.
    #[serde(default)]
    pub retired: BTreeMap<String, Retired>,
}

/// Packets, and bytes of whole frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Retired {
    pub packets: u64,
    pub bytes: u64,
}

impl Ledger {
    /// Takes note of the destinations that a publish is about to close.
    pub fn expect(&mut self, desired: &Desired, live: &Live) {
        for (target, claim) in &live.table.endpoints {
            let Claim::Open { slot, .. } = claim else { continue };
            let Some(owner) = live.databases.get(slot).map(|database| &database.id) else { continue };
            let leaves = match desired.databases.get(owner) {
                Some(database) => !database.targets.iter().any(|one| one.covers(target)),
                None => desired.removed.contains(owner),
            };
            if leaves {
                self.tombstones.insert(target.to_string(), owner.to_string());
            }
        }
    }

    /// Takes note of the destinations that are closed after a publish of `desired`, `before` being what was live before
    /// it.
    pub fn bury(&mut self, before: &Live, after: &Live, desired: &Desired) {
        let owner = |target: &Target| match before.table.endpoints.get(target) {
            Some(Claim::Open { slot, .. }) => {
                before.databases.get(slot).map(|database| database.id.to_string())
            }
            Some(Claim::Closed) | None => None,
        };
        let closed = after.table.endpoints.iter().filter(|(_, claim)| **claim == Claim::Closed);
        self.tombstones = closed
            .map(|(target, _)| {
                let name = target.to_string();
                let known = || self.tombstones.get(&name).cloned().unwrap_or_default();
                // Closed since its database could not be published.
                let wanted = || {
                    let mut databases = desired.databases.iter();
                    databases.find(|(_, one)| one.targets.contains(target)).map(|(id, _)| id.to_string())
                };
                let known = Some(known()).filter(|known| !known.is_empty());
                let owner = owner(target).or(known).or_else(wanted).unwrap_or_default();
                (name, owner)
            })
            .collect();
    }

    /// Takes note of what the lines freed by a publish had counted, `before` being what was live before it.
    pub fn retire(&mut self, freed: BTreeMap<RuleSlot, LineHits>, before: &Live, after: &Live) {
        for (line, hits) in freed.into_iter().filter(|(_, hits)| hits.packets > 0) {
            let owner = before.lines.get(&line).and_then(|line| before.databases.get(&line.database));
            if let Some(owner) = owner {
                let retired = self.retired.entry(owner.id.to_string()).or_default();
                retired.packets += hits.packets;
                retired.bytes += hits.bytes;
            }
        }
        self.retired.retain(|id, _| after.databases.values().any(|database| database.id.as_str() == id));
    }

    /// Every closed destination.
    pub fn closed(&self) -> BTreeSet<Target> {
        self.tombstones.keys().filter_map(|name| name.parse().ok()).collect()
    }

    /// The closed destinations that a database left behind.
    pub fn left_by(&self, database: &DatabaseId) -> BTreeSet<Target> {
        let left = self.tombstones.iter().filter(|(_, owner)| *owner == database.as_str());
        left.filter_map(|(name, _)| name.parse().ok()).collect()
    }
}
