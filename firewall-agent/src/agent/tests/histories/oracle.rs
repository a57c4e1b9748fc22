//! Invariants of one host, in every state of its kernel, and facts that must survive restarts and reboots: derived from
//! pushed and accepted files, without the agent's own state.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;

use super::blocked::BlockedOracle;
use super::control_plane::{ControlPlane, Issue};
use super::kernel::Judgement;
use super::overlay::{Entries, OverlayOracle};
use super::packets::{Packets, describe, to_claimed, to_ports};
use crate::rules::DatabaseId;
use crate::sync::{Destination, Live, Ports};

/// Newest decision about one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decision {
    /// Nothing was accepted, or the agent has no file: the kernel's rules stay.
    #[default]
    None,
    /// A revision, active or removed.
    Revision(u64),
    Forgotten,
}

/// State of an agent after a pass.
#[derive(Debug, Clone)]
pub struct View {
    /// The decision in force by database, and the bytes of accepted files.
    pub decisions: BTreeMap<DatabaseId, (Decision, Option<Vec<u8>>)>,
    /// Revision of the managed ranges; 0 when none was read.
    pub ranges: u64,
    pub now: Timestamp,
    /// Ports closed to every packet.
    pub guarded: Ports,
    pub allow_monitor: bool,
    /// Entries of the overlay in force.
    pub overlay: Entries,
}

/// Facts about one host.
#[derive(Debug, Clone, Default)]
struct Facts {
    decisions: BTreeMap<DatabaseId, Decision>,
    /// Revisions below are never accepted again; they survive `forget`.
    floors: BTreeMap<DatabaseId, u64>,
    /// Every destination that was claimed and not released, with the last claimant.
    claims: BTreeMap<Destination, DatabaseId>,
    ranges: u64,
    /// Rules of a database that expired up to this time are gone.
    reached: BTreeMap<DatabaseId, Timestamp>,
}

#[derive(Debug, Default)]
pub struct Oracle {
    /// Facts of the running agent.
    known: Facts,
    /// Facts that neither a kill nor a reboot may undo.
    firm: Facts,
    /// Decisions accepted since, any of which may have become durable.
    since: BTreeMap<DatabaseId, Vec<Decision>>,
    ranges_since: BTreeSet<u64>,
    /// Revisions that may judge packets: the newest accepted one, and until a pass is finished the earlier ones.
    judging: BTreeMap<DatabaseId, BTreeSet<u64>>,
    judging_ranges: BTreeSet<u64>,
    /// Ports guarded by the configurations both before and after a restart.
    guarded: Ports,
    allow_monitor: bool,
    /// Packets to destinations that were protected in some state since the boot.
    secured: Packets,
    /// The highest revision that may have been accepted, known now or not.
    highest: BTreeMap<DatabaseId, u64>,
    /// Rebased databases, until a later revision in force is known to be stored: the kernel's revision is no floor.
    rebasing: BTreeSet<DatabaseId>,
    /// Destinations with an uncertain claim: it is unknown whether a release, or an accepted file, was stored.
    doubtful: BTreeSet<Destination>,
    /// Revisions in force since the boot.
    in_force: BTreeMap<DatabaseId, u64>,
    pub overlay: OverlayOracle,
    pub blocked: BlockedOracle,
}

impl Oracle {
    fn issues<'a>(&'a self, plane: &'a ControlPlane, id: &'a DatabaseId) -> impl Iterator<Item = &'a Issue> {
        self.judging.get(id).into_iter().flatten().filter_map(|revision| plane.issue(id, *revision))
    }

    /// Packets that any file which may judge them allows.
    fn allowed(&self, plane: &ControlPlane) -> Packets {
        let mut allowed = 0;
        for id in self.judging.keys() {
            let reached = self.known.reached.get(id).copied().unwrap_or(Timestamp::MIN);
            for issue in self.issues(plane, id) {
                for ranges in &self.judging_ranges {
                    allowed |= plane.allowed(issue, *ranges, reached, self.allow_monitor);
                }
            }
        }
        let claims = self.judging.keys().map(|id| {
            let destinations = self.issues(plane, id).flat_map(|issue| &issue.destinations).copied();
            (id.clone(), destinations.collect())
        });
        allowed | self.overlay.allowed(&claims.collect())
    }

    /// Packets to claimed or guarded destinations.
    fn claimed(&self) -> Packets {
        to_claimed(&self.known.claims.keys().copied().collect()) | to_ports(&self.guarded)
    }

    /// The property: a packet to a destination once closed or claimed passes only where an accepted file allows it.
    pub fn state(&mut self, judgement: &Judgement, plane: &ControlPlane) -> Result<()> {
        self.overlay.check(judgement)?;
        let claimed = self.claimed();
        self.secured |= judgement.protected;
        let wrong = judgement.passed & claimed & self.secured & !self.allowed(plane);
        ensure!(wrong == 0, "no accepted file allows {}", describe(wrong));
        for destination in judgement.open.values().flatten() {
            // The claim of an open destination survives a reboot.
            if let Some(owner) = self.known.claims.get(destination) {
                self.firm.claims.insert(*destination, owner.clone());
            }
        }
        for (id, revision) in &judgement.revisions {
            plane.issue(id, *revision).with_context(|| format!("{id} {revision} was never issued"))?;
            let before = self.in_force.insert(id.clone(), *revision).unwrap_or(0);
            let is_newest = self.known.decisions.get(id) == Some(&Decision::Revision(*revision));
            // After a rebase any revision may follow, also one that a later file has replaced meanwhile.
            let may_follow = is_newest || self.rebasing.contains(id);
            ensure!(*revision >= before || may_follow, "{id} {revision} is in force after {before}");
        }
        Ok(())
    }

    /// Records the files accepted in a pass or verb. Every file must have been issued, and none may be older than those
    /// accepted before.
    pub fn accepted(&mut self, view: &View, plane: &ControlPlane) -> Result<()> {
        let mut claimed: Vec<(&DatabaseId, &Issue)> = Vec::new();
        for (id, (decision, content)) in &view.decisions {
            let Decision::Revision(revision) = *decision else { continue };
            let issue =
                plane.issue(id, revision).with_context(|| format!("{id} {revision} was never issued"))?;
            ensure!(
                content.as_ref().is_none_or(|content| *content == issue.text),
                "{id} {revision}: other bytes"
            );
            for (other, others) in &claimed {
                let overlaps = |one: &Destination| others.destinations.iter().any(|two| one.overlaps(two));
                ensure!(!issue.destinations.iter().any(overlaps), "{id} and {other} claim one destination");
            }
            claimed.push((id, issue));
            let before = self.known.decisions.get(id).copied().unwrap_or_default();
            if before == *decision {
                self.judging.entry(id.clone()).or_default().insert(revision);
                let since = self.since.entry(id.clone()).or_default();
                if self.firm.decisions.get(id) != Some(decision) && !since.contains(decision) {
                    // Its file was lost before it was stored, and is accepted again.
                    since.push(*decision);
                }
                continue;
            }
            let floor = self.known.floors.get(id).copied().unwrap_or(0);
            let is_newer = if before == Decision::Forgotten {
                revision > floor || floor == 0
            } else {
                revision >= floor
            };
            ensure!(is_newer, "{id} {revision} was accepted after {floor}");
            self.accept(id, revision, issue);
        }
        self.overlay.seen(&view.overlay, view.now)?;
        self.judging_ranges.insert(view.ranges);
        if view.ranges != self.known.ranges {
            ensure!(view.ranges > self.known.ranges, "ranges {} after {}", view.ranges, self.known.ranges);
            self.known.ranges = view.ranges;
            self.ranges_since.insert(view.ranges);
        }
        Ok(())
    }

    fn accept(&mut self, id: &DatabaseId, revision: u64, issue: &Issue) {
        let decision = Decision::Revision(revision);
        self.known.decisions.insert(id.clone(), decision);
        self.known.floors.insert(id.clone(), revision);
        let highest = self.highest.entry(id.clone()).or_insert(0);
        *highest = revision.max(*highest);
        self.since.entry(id.clone()).or_default().push(decision);
        self.judging.entry(id.clone()).or_default().insert(revision);
        self.claim(&issue.destinations, id);
    }

    /// Adds claims; destinations without one before must be protected from the next protecting state on.
    fn claim(&mut self, destinations: &BTreeSet<Destination>, id: &DatabaseId) {
        let before = self.claimed();
        for destination in destinations {
            self.known.claims.insert(*destination, id.clone());
        }
        self.secured &= before | !self.claimed();
    }

    /// The kernel accepted every write of a pass: only the newest revisions judge from now on, regardless of the store.
    pub fn finished(&mut self, view: &View, plane: &ControlPlane) {
        let mut all_known = true;
        for (id, revisions) in &mut self.judging {
            match view.decisions.get(id).map(|(decision, _)| *decision).unwrap_or_default() {
                Decision::Revision(revision) => {
                    revisions.retain(|one| *one == revision);
                    let expired = plane
                        .issue(id, revision)
                        .and_then(|issue| issue.expiries().filter(|at| *at <= view.now).max());
                    let reached = self.known.reached.entry(id.clone()).or_insert(Timestamp::MIN);
                    *reached = (*reached).max(expired.unwrap_or(Timestamp::MIN));
                }
                Decision::Forgotten => revisions.clear(),
                Decision::None => all_known &= revisions.is_empty(),
            }
        }
        if all_known && view.ranges > 0 {
            self.judging_ranges = BTreeSet::from([view.ranges]);
        }
        self.overlay.finished(&view.overlay);
        self.guarded.clone_from(&view.guarded);
        self.allow_monitor = view.allow_monitor;
        self.secured = Packets::MAX;
    }

    /// Packets that passed before a pass and that the revisions before and after it both allow: none may be cut off.
    /// After a refused write, monitor mode that ends has allowed only what its rules do.
    pub fn retained(
        &self,
        before: &Judgement,
        decisions: &BTreeMap<DatabaseId, Decision>,
        view: &View,
        has_refused: bool,
        plane: &ControlPlane,
    ) -> Packets {
        let mut retained = 0;
        for (id, decision) in decisions {
            let after = self.known.decisions.get(id).copied().unwrap_or_default();
            let (Decision::Revision(one), Decision::Revision(other)) = (*decision, after) else { continue };
            let is_refused = plane.issue(id, other).is_some_and(|issue| issue.monitor && !view.allow_monitor);
            if is_refused && view.decisions.get(id).is_none_or(|(decision, _)| *decision == Decision::None) {
                // Its file was lost before it was stored, and is not accepted again here.
                continue;
            }
            let mut packets = before.passed & before.protected;
            let ends = plane.issue(id, other).is_some_and(|issue| !issue.monitor);
            let monitors = view.allow_monitor && self.allow_monitor && !(has_refused && ends);
            // The one in force may be older than both, where every write was refused.
            let in_force = before.revisions.get(id).copied().filter(|_| has_refused && ends);
            let revisions = [Some(one), Some(other), in_force].into_iter().flatten();
            for issue in revisions.filter_map(|revision| plane.issue(id, revision)) {
                for ranges in &self.judging_ranges {
                    packets &= plane.allowed(issue, *ranges, view.now, monitors);
                }
            }
            for other in self.judging.keys().filter(|other| *other != id) {
                self.issues(plane, other).for_each(|issue| packets &= !to_claimed(&issue.destinations));
            }
            retained |= packets;
        }
        retained & !self.concerned(plane)
    }

    /// Packets about which the overlay or the blocked ranges may decide.
    pub fn concerned(&self, plane: &ControlPlane) -> Packets {
        self.overlay.concerned(plane) | self.blocked.concerned()
    }

    pub fn decisions(&self) -> BTreeMap<DatabaseId, Decision> {
        self.known.decisions.clone()
    }

    /// The highest revision that may have been accepted.
    pub fn highest(&self, id: &DatabaseId) -> u64 {
        self.highest.get(id).copied().unwrap_or(0)
    }

    /// `rebase` was answered: no floor remains.
    pub fn has_rebased(&mut self, id: &DatabaseId) {
        self.highest.remove(id);
    }

    /// Marks all known facts as durable.
    pub fn durable(&mut self, view: &View) {
        self.firm.clone_from(&self.known);
        self.overlay.durable(&view.overlay);
        self.blocked.durable();
        let Self { rebasing, known, in_force, .. } = self;
        rebasing.retain(|id| in_force.get(id).is_none_or(|revision| known.floors.get(id) != Some(revision)));
        for (id, (decision, _)) in &view.decisions {
            // The kernel has a revision, but its file was never stored.
            if *decision == Decision::None {
                self.firm.decisions.remove(id);
            }
        }
        self.since.clear();
        self.ranges_since.clear();
    }

    /// `forget` was requested; the agent may have stored it or not.
    pub fn forgets(&mut self, id: &DatabaseId) {
        self.known.decisions.insert(id.clone(), Decision::Forgotten);
        self.since.entry(id.clone()).or_default().push(Decision::Forgotten);
        self.in_force.remove(id);
    }

    /// Destinations that `forget --open` may have released.
    pub fn releases(
        &mut self,
        id: &DatabaseId,
        released: &BTreeSet<Destination>,
        plane: &ControlPlane,
    ) -> Result<()> {
        for destination in released {
            for (other, decision) in self.known.decisions.iter().filter(|(other, _)| *other != id) {
                let Decision::Revision(revision) = decision else { continue };
                let claims =
                    plane.issue(other, *revision).is_some_and(|it| it.destinations.contains(destination));
                ensure!(!claims, "{destination} is claimed by {other}, and released by {id}");
            }
            self.known.claims.remove(destination);
            self.firm.claims.remove(destination);
            self.doubtful.insert(*destination);
        }
        // An address that was open as part of a wildcard of the same database.
        let below = |to: &Destination, owner: &DatabaseId| owner == id && released.contains(&to.everywhere());
        self.doubtful
            .extend(self.known.claims.iter().filter(|(to, owner)| below(to, owner)).map(|(to, _)| *to));
        self.known.claims.retain(|to, owner| !below(to, owner));
        self.firm.claims.retain(|to, owner| !below(to, owner));
        self.secured &= self.claimed();
        Ok(())
    }

    /// Destinations that `forget --open` has released.
    pub fn released(&mut self, released: &BTreeSet<Destination>) {
        self.doubtful.retain(|destination| !released.contains(destination));
    }

    /// Destinations that stayed closed although `forget --open` was requested: an error was returned.
    pub fn stay_closed(&mut self, id: &DatabaseId, closed: &BTreeSet<Destination>) {
        for destination in closed {
            self.known.claims.insert(*destination, id.clone());
        }
    }

    /// Packets to destinations that are neither claimed nor guarded; with `surely`, only where that is certain.
    pub fn unclaimed(&self, surely: bool) -> Packets {
        !self.claimed() & if surely { !to_claimed(&self.doubtful) } else { Packets::MAX }
    }

    /// `rebase` was requested; any revision may follow.
    pub fn rebased(&mut self, id: &DatabaseId, plane: &ControlPlane) {
        let decision = self.known.decisions.get(id).copied().unwrap_or_default();
        if let Decision::Revision(revision) = decision
            && plane.issue(id, revision).is_some_and(|issue| issue.removed)
        {
            self.forgets(id);
        }
        self.known.floors.insert(id.clone(), 0);
        self.firm.floors.insert(id.clone(), 0);
        self.rebasing.insert(id.clone());
        self.in_force.remove(id);
    }

    /// An agent has started, with the kernel of the previous one.
    pub fn restarted(&mut self, view: &View, live: &Live, plane: &ControlPlane) -> Result<()> {
        let lost = std::mem::replace(&mut self.known, self.firm.clone());
        for destination in live.table.endpoints.keys() {
            if let Some(owner) = lost.claims.get(destination) {
                self.known.claims.insert(*destination, owner.clone());
            }
        }
        let floors = live.databases.values().map(|database| (&database.id, database.floor));
        let floors: BTreeMap<&DatabaseId, u64> = floors.collect();
        self.overlay.started(&view.overlay, view.now, false)?;
        self.started(view, &lost, &floors, plane)?;
        self.guarded = self.guarded.iter().filter(|port| view.guarded.contains(*port)).collect();
        self.allow_monitor |= view.allow_monitor;
        Ok(())
    }

    /// An agent has started with an empty kernel.
    pub fn booted(&mut self, view: &View, plane: &ControlPlane) -> Result<()> {
        let lost = std::mem::replace(&mut self.known, self.firm.clone());
        self.judging.clear();
        self.judging_ranges.clear();
        self.in_force.clear();
        self.secured = 0;
        self.overlay.started(&view.overlay, view.now, true)?;
        self.started(view, &lost, &BTreeMap::new(), plane)?;
        self.guarded.clone_from(&view.guarded);
        self.allow_monitor = view.allow_monitor;
        Ok(())
    }

    /// The agent acts on durable decisions, or on one accepted since that became durable unseen.
    fn started(
        &mut self,
        view: &View,
        lost: &Facts,
        floors: &BTreeMap<&DatabaseId, u64>,
        plane: &ControlPlane,
    ) -> Result<()> {
        self.doubtful.extend(lost.claims.keys());
        for id in plane.ids() {
            let decision = view.decisions.get(&id).map(|(decision, _)| *decision).unwrap_or_default();
            let firm = self.firm.decisions.get(&id).copied().unwrap_or_default();
            let since = self.since.get(&id).map(Vec::as_slice).unwrap_or_default();
            let floor_in_force = floors.get(&id).copied().unwrap_or(0);
            if floor_in_force == 0 {
                // Neither the kernel nor, where it was broken, the store records the revision in force.
                self.in_force.remove(&id);
            }
            let is_stored = decision == firm || since.contains(&decision);
            let stored = if let Decision::Revision(revision) = firm { revision } else { 0 };
            // A newer revision was accepted, and its file could not be stored: the earlier one must not return.
            let newest = floor_in_force.max(self.highest(&id));
            let is_newer_accepted = decision == Decision::None && newest > stored;
            ensure!(
                is_stored || is_newer_accepted,
                "{id}: {decision:?} after a start; {firm:?} was durable, then {since:?}"
            );
            if let Decision::Revision(revision) = decision {
                let floor = self.known.floors.entry(id.clone()).or_insert(0);
                if !self.rebasing.contains(&id) {
                    *floor = revision.max(*floor);
                }
                self.judging.entry(id.clone()).or_default().insert(revision);
                let issue = plane.issue(&id, revision).context("never issued")?;
                if decision != firm {
                    self.claim(&issue.destinations, &id);
                }
                self.known.decisions.insert(id.clone(), decision);
            } else if is_newer_accepted && !is_stored {
                let decision =
                    lost.decisions.get(&id).copied().filter(|decision| *decision != Decision::Forgotten);
                let decision = decision.unwrap_or_default();
                if let Decision::Revision(revision) = decision
                    && plane.issue(&id, revision).is_some_and(|issue| issue.monitor && !view.allow_monitor)
                {
                    // In monitor mode it revoked nothing while it did not fit, and is not accepted again here.
                    self.judging.entry(id.clone()).or_default().insert(floor_in_force);
                }
                self.known.decisions.insert(id.clone(), decision);
            } else {
                self.known.decisions.insert(id.clone(), decision);
            }
            if !self.rebasing.contains(&id) {
                let floor = self.known.floors.entry(id.clone()).or_insert(0);
                *floor = (*floor).max(floor_in_force);
            }
        }
        let is_known = view.ranges == self.firm.ranges || self.ranges_since.contains(&view.ranges);
        ensure!(is_known, "ranges {} after a start; {} were durable", view.ranges, self.firm.ranges);
        self.known.ranges = view.ranges;
        self.judging_ranges.insert(view.ranges);
        Ok(())
    }
}
