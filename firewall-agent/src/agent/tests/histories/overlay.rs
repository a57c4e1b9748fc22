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

/// An action, by the answers to its commands alone.
#[derive(Debug)]
struct Commanded {
    action: OverlayAction,
    /// Ends that its entry may have.
    ends: BTreeSet<Timestamp>,
    /// The end before which its entry must refuse; `None` without an answer that says so.
    sure: Option<Timestamp>,
}

/// Facts about the overlay of one host.
#[derive(Debug, Default)]
pub struct OverlayOracle {
    commanded: Vec<Commanded>,
    /// Entries in force since a pass was finished, or since their command was answered: they hold in every state.
    holding: Entries,
    /// Entries that may judge packets: those in force, and until a pass is finished those before.
    judging: Entries,
    /// Entries known to be stored, which a restart and a boot must find again.
    stored: Entries,
}

impl OverlayOracle {
    fn commanded(&mut self, action: &OverlayAction) -> &mut Commanded {
        let known = self.commanded.iter().position(|one| one.action == *action);
        let at = known.unwrap_or(self.commanded.len());
        if known.is_none() {
            self.commanded.push(Commanded { action: action.clone(), ends: BTreeSet::new(), sure: None });
        }
        &mut self.commanded[at]
    }

    /// A command adds an entry, or gives it another end: without an answer, it may have either.
    pub fn adds(&mut self, action: &OverlayAction, until: Timestamp) {
        self.changes(action);
        let commanded = self.commanded(action);
        commanded.ends.insert(until);
        commanded.sure = commanded.sure.map(|sure| sure.min(until));
    }

    /// A command drops an entry.
    pub fn drops(&mut self, action: &OverlayAction) {
        self.changes(action);
        self.commanded(action).sure = None;
    }

    /// The command that adds an entry with this end, or drops one, was answered.
    pub fn answered(&mut self, action: &OverlayAction, until: Option<Timestamp>) {
        // A permission may end earlier.
        let refuses = !matches!(action, OverlayAction::Allow { .. });
        let commanded = self.commanded(action);
        (commanded.ends, commanded.sure) = (until.into_iter().collect(), until.filter(|_| refuses));
    }

    /// Fails unless the entries on which the agent acts at this time by its clock are those of commands, and none of a
    /// command that was answered is missing.
    fn check_commands(&mut self, entries: &Entries, now: Timestamp) -> Result<()> {
        let ends = |action: &OverlayAction| {
            let known = self.commanded.iter().find(|one| one.action == *action);
            known.map(|one| &one.ends).into_iter().flatten()
        };
        for (action, until) in entries {
            // A permission from a time ahead ends earlier.
            let is_shorter = matches!(action, OverlayAction::Allow { .. });
            let is_known = ends(action).any(|end| end == until || is_shorter && end > until);
            ensure!(is_known, "no command has added {action} until {until}");
        }
        for one in &mut self.commanded {
            one.sure = one.sure.filter(|sure| *sure > now);
            let is_there = |(action, until): &(OverlayAction, Timestamp)| {
                *action == one.action && Some(*until) >= one.sure
            };
            let is_lost = one.sure.is_some() && !entries.iter().any(is_there);
            ensure!(!is_lost, "lost at {now}: {one:?}, {entries:?}");
        }
        Ok(())
    }

    /// Records the entries on which the agent acts.
    pub fn seen(&mut self, entries: &Entries, now: Timestamp) -> Result<()> {
        self.check_commands(entries, now)?;
        self.holding.retain(|entry| entries.contains(entry));
        let new = entries.iter().filter(|entry| !self.judging.contains(entry));
        let new: Entries = new.cloned().collect();
        self.judging.extend(new);
        Ok(())
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
    fn changes(&mut self, action: &OverlayAction) {
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
        self.seen(entries, now)
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
        let sure = self.commanded.iter().filter(|one| one.sure.is_some()).map(|one| &one.action);
        for entry in self.holding.iter().map(|(action, _)| action).chain(sure) {
            let (wrong, open) = match entry {
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
