//! Oracle of the overlay: packets that its entries must refuse, and may let pass.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use jiff::Timestamp;

use super::control_plane::ControlPlane;
use super::kernel::Judgement;
use super::packets::{self, Packets, describe, to_claimed};
use crate::rules::DatabaseId;
use crate::sync::{Destination, OverlayAction};

/// Entries in force, with their ends.
pub type Entries = Vec<(OverlayAction, Timestamp)>;

/// Facts about the overlay of one host.
#[derive(Debug, Default)]
pub struct OverlayOracle {
    /// Entries in force since a pass was finished, or since their command was answered: they hold in every state.
    holding: Entries,
    /// Entries that may judge packets: those in force, and until a pass is finished those before.
    judging: Entries,
    /// Entries known to be stored, which a restart and a boot must find again.
    stored: Entries,
}

impl OverlayOracle {
    /// Records the entries on which the agent acts.
    pub fn seen(&mut self, entries: &Entries) {
        self.holding.retain(|entry| entries.contains(entry));
        let new = entries.iter().filter(|entry| !self.judging.contains(entry));
        let new: Entries = new.cloned().collect();
        self.judging.extend(new);
    }

    /// The kernel accepted every write of a pass, or a command was answered.
    pub fn finished(&mut self, entries: &Entries) {
        (self.holding, self.judging) = (entries.clone(), entries.clone());
    }

    /// The agent's state is durable.
    pub fn durable(&mut self, entries: &Entries) {
        self.stored.clone_from(entries);
    }

    /// A command ends an entry, or gives it another end: the store may have either.
    pub fn changes(&mut self, action: &OverlayAction) {
        for entries in [&mut self.holding, &mut self.stored] {
            entries.retain(|(other, _)| other != action);
        }
    }

    /// An agent has started at this time by its clock; after a boot the kernel is empty.
    pub fn started(&mut self, entries: &Entries, now: Timestamp, is_boot: bool) -> Result<()> {
        for entry in self.stored.iter().filter(|(_, until)| *until > now) {
            ensure!(entries.contains(entry), "stored, and lost by a start: {entry:?}, {entries:?}");
        }
        if is_boot {
            self.judging.clear();
        }
        self.holding.clear();
        self.seen(entries);
        Ok(())
    }

    /// Packets that entries may let pass.
    pub fn allowed(&self, claims: &BTreeMap<DatabaseId, BTreeSet<Destination>>) -> Packets {
        let mut allowed = 0;
        for (action, _) in &self.judging {
            if let OverlayAction::Allow { source, database } = action
                && let Some(claims) = claims.get(database)
            {
                allowed |= packets::from([source], false, claims);
            }
        }
        allowed
    }

    /// Packets about which entries may decide, whichever way.
    pub fn concerned(&self, plane: &ControlPlane) -> Packets {
        let mut concerned = 0;
        for (action, _) in &self.judging {
            concerned |= match action {
                OverlayAction::Block { source, .. } | OverlayAction::Allow { source, .. } => {
                    packets::from_anywhere(source)
                }
                OverlayAction::Close { database } => to_claimed(&plane.ever_claimed(database)),
            };
        }
        concerned
    }

    /// Fails if a state lets pass what an entry refuses.
    pub fn check(&self, judgement: &Judgement) -> Result<()> {
        let all: BTreeSet<Destination> = judgement.open.values().flatten().copied().collect();
        let nothing = BTreeSet::new();
        for entry in &self.holding {
            let (wrong, open) = match &entry.0 {
                OverlayAction::Block { source, database: None } => {
                    (packets::from([source], false, &all), None)
                }
                OverlayAction::Block { source, database: Some(id) } => {
                    (packets::from([source], false, judgement.open.get(id).unwrap_or(&nothing)), None)
                }
                OverlayAction::Close { database } => (0, judgement.open.get(database)),
                OverlayAction::Allow { .. } => (0, None),
            };
            let passed = wrong & judgement.passed;
            ensure!(passed == 0, "{entry:?} refuses {}", describe(passed));
            ensure!(open.is_none_or(BTreeSet::is_empty), "{entry:?}, and {open:?} is open");
        }
        Ok(())
    }
}
