//! Capacity that databases need.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::Host;
use crate::agent::tests::histories::control_plane::ControlPlane;
use crate::agent::tests::histories::oracle::View;
use crate::rules::DatabaseId;
use crate::sync::{Capacity, InForce, OverlayAction, RulesInForce};

/// Capacity used by databases.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub databases: BTreeSet<DatabaseId>,
    pub prefixes: usize,
    pub endpoints: usize,
    /// Prefixes that need memory.
    pub memory: usize,
}

impl Room {
    /// Adds a revision of a database.
    pub fn add(&mut self, id: &DatabaseId, revision: u64, view: &View, plane: &ControlPlane) {
        let Some(issue) = plane.issue(id, revision).filter(|issue| !issue.removed) else { return };
        self.databases.insert(id.clone());
        let prefixes = prefixes(id, revision, view, plane);
        (self.prefixes, self.memory) = (self.prefixes + prefixes, self.memory + prefixes);
        self.endpoints += issue.destinations.len();
    }

    pub fn add_rules(&mut self, id: &DatabaseId, rules: &RulesInForce) {
        self.databases.insert(id.clone());
        let prefixes = rules.networks.len();
        (self.prefixes, self.memory) = (self.prefixes + prefixes, self.memory + prefixes);
        self.endpoints += rules.destinations.len();
    }

    pub fn is_within(&self, host: &Host) -> bool {
        let Capacity { endpoints, prefixes, .. } = host.settings.capacity;
        self.databases.len() <= usize::try_from(host.databases).unwrap_or(0)
            && self.prefixes <= prefixes
            && self.memory <= host.memory
            && self.endpoints <= endpoints
    }
}

impl Host {
    /// Returns `true` if the memory certainly suffices for the newest accepted list of blocked ranges together with the
    /// one that was in force, or neither is longer.
    pub(super) fn has_room_for_blocks(&self) -> bool {
        if self.memory == usize::MAX {
            return true;
        }
        let before: BTreeSet<IpNet> = self.blocked_before.keys().map(|source| source.net).collect();
        let merged = self.oracle.blocked.nets().union(&before).count();
        merged == before.len() || merged + self.prefixes_before + self.kernel.prefixes() <= self.memory
    }
}

/// Maximum number of prefixes in force.
pub(super) fn prefixes_of(id: &DatabaseId, in_force: &InForce, view: &View, plane: &ControlPlane) -> usize {
    match (&in_force.rules, plane.issue(id, in_force.revision)) {
        (Some(rules), _) => rules.networks.len(),
        // Of any list that was in force before.
        (None, Some(issue)) => {
            let lists = 0..=plane.ranges.len() as u64;
            let prefixes = lists.map(|ranges| plane.prefixes(issue, ranges, view.now)).max().unwrap_or(0);
            prefixes + permissions(id, view)
        }
        (None, None) => 0,
    }
}

/// Maximum number of prefixes of a revision.
fn prefixes(id: &DatabaseId, revision: u64, view: &View, plane: &ControlPlane) -> usize {
    let Some(issue) = plane.issue(id, revision) else { return 0 };
    // Without the file, the kernel may have any of the lists.
    let lists = if view.ranges == 0 { 0..=plane.ranges.len() as u64 } else { view.ranges..=view.ranges };
    lists.map(|ranges| plane.prefixes(issue, ranges, view.now)).max().unwrap_or(0) + permissions(id, view)
}

/// Number of networks that the overlay allows at a database.
fn permissions(id: &DatabaseId, view: &View) -> usize {
    let allows =
        |action: &OverlayAction| matches!(action, OverlayAction::Allow { database, .. } if database == id);
    view.overlay.iter().filter(|(action, _)| allows(action)).count()
}
