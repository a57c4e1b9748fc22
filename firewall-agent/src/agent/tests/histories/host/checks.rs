//! Checks of a simulated host after a pass.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;

use super::Host;
use super::room::{Room, prefixes_of};
use crate::agent::tests::histories::agent::view;
use crate::agent::tests::histories::control_plane::{ControlPlane, Issue};
use crate::agent::tests::histories::kernel::Judgement;
use crate::agent::tests::histories::oracle::{Decision, View};
use crate::agent::tests::histories::packets::{self, describe, to_claimed};
use crate::agent::tests::histories::tally::Count;
use crate::rules::DatabaseId;
use crate::sync::{Destination, InForce, assert_confirmed, digest};

impl Host {
    /// Checks a host whose kernel accepted every write of a pass.
    pub(super) fn finish(
        &mut self,
        before: &Judgement,
        decisions: &BTreeMap<DatabaseId, Decision>,
        view: &View,
        plane: &ControlPlane,
        reads: bool,
    ) -> Result<()> {
        self.tally.add(Count::Finished);
        let has_room = self.has_room(view, plane);
        let agent = self.agent.as_mut().context("no agent runs")?;
        let incomplete = agent.reporter.conditions.incomplete();
        let (is_migrating, before_boot) = (self.old.is_some(), std::mem::take(&mut self.before_boot));
        if is_migrating {
            let databases = self.old.as_ref().map_or(0, |old| old.databases);
            if let Err(error) = agent.reconciler.ensure_replaces(databases, &agent.reporter.conditions) {
                self.not_running = format!("{error:#}");
                // The start fails: the other layout stays in force.
                self.terminate();
                return Ok(());
            }
            let retained = self.oracle.retained(before, decisions, view, false, plane);
            let retained = if has_room { retained } else { 0 };
            let now = self.kernel.judgement();
            ensure!(retained & !now.passed == 0, "cut by the upgrade: {}", describe(retained & !now.passed));
            (self.old, agent.reconciler.frees_nothing) = (None, false);
            agent.reconciler.force();
        }
        self.is_attached = true;
        self.oracle.finished(view, plane);
        if self.has_room_for_blocks() {
            self.oracle.blocked.finished(&self.kernel.judgement(), &self.kernel.live())?;
        }
        let agent = self.agent.as_ref().context("no agent runs")?;
        let live = self.kernel.live();
        let known = &agent.reconciler.live;
        let is_known = known.table == live.table
            && known.databases == live.databases
            && known.counters == live.counters
            && known.blocks == live.blocks
            && (&known.claimed, &known.guarded) == (&live.claimed, &live.guarded);
        ensure!(is_known, "the kernel differs from the live state");
        assert_confirmed(known, &agent.reconciler.data_plane);
        for database in live.databases.values() {
            // No stamp: only where an agent that forgot the database was killed, and its successor does not know the
            // database.
            let Some(stamp) = &database.stamp else { continue };
            let stamped = Some(stamp.digest);
            ensure!(
                stamped == Some(digest(&database.sources)),
                "{database:?}: another digest than {:?}",
                digest(&database.sources)
            );
        }
        let judgement = self.kernel.judgement();
        if !is_migrating {
            let open = live.open_endpoints();
            // Of listed sources: monitor mode passes others too, which no boot restores.
            let passed = |id: &DatabaseId| {
                let slot = live.slot(id)?;
                let destinations = open.of(slot).iter().map(|open| open.destination).collect();
                let sources: Vec<IpNet> = live.databases.get(&slot)?.sources.keys().collect();
                let passed = judgement.passed & packets::from(&sources, false, &destinations);
                // An entry of the overlay may end while the host is down.
                Some(passed & !self.oracle.concerned(plane))
            };
            let in_force = judgement.revisions.iter();
            let in_force = in_force.map(|(id, revision)| (id.clone(), (*revision, passed(id).unwrap_or(0))));
            self.published = in_force.collect();
        }
        self.oracle.state(&judgement, plane).context("after a pass")?;
        let withheld: BTreeSet<Destination> = agent.reconciler.withheld.clone();
        ensure!(
            withheld.is_empty() || !agent.reconciler.store.is_durable(),
            "withheld, and durable: {withheld:?}"
        );
        for (id, (decision, _)) in &view.decisions {
            let Decision::Revision(revision) = *decision else { continue };
            let issue = plane.issue(id, revision).context("never issued")?;
            let in_force = judgement.revisions.get(id).copied();
            if issue.removed {
                ensure!(is_migrating || in_force.is_none(), "{id} is removed, and in force as {in_force:?}");
                continue;
            }
            if !has_room {
                let before = before_boot.get(id).or_else(|| self.lost.get(id)).copied();
                let is_first_pass = before_boot.contains_key(id);
                if let Some((previous, passed)) = before
                    && self.is_common_smaller(id, issue, view, plane)
                    && (is_first_pass && self.prefixes_before == 0 && self.has_room_again(view, plane)
                        || self.has_room_with(Some((id, previous)), view, plane))
                {
                    let allowed = plane.allowed(issue, view.ranges, view.now, view.allow_monitor);
                    // A rule of the previous revision may have expired while the host was down.
                    let unexpired = plane.issue(id, previous).map_or(0, |issue| {
                        let lists = 0..=plane.ranges.len() as u64;
                        lists.fold(0, |sum, ranges| sum | plane.allowed(issue, ranges, view.now, true))
                    });
                    let allowed = allowed & unexpired;
                    let concerned = self.oracle.concerned(plane);
                    let cut = passed & allowed & !judgement.passed & !to_claimed(&withheld) & !concerned;
                    ensure!(
                        cut == 0,
                        "{id} {previous} passed before the boot, and {in_force:?} does not: {}, {incomplete:?}",
                        describe(cut)
                    );
                    self.tally.add(Count::Restored);
                } else if let Some(before) = before_boot.get(id).filter(|(previous, _)| *previous < revision)
                    && in_force.is_none()
                {
                    self.lost.insert(id.clone(), *before);
                }
                if in_force.is_some() {
                    self.lost.remove(id);
                }
                continue;
            }
            self.lost.remove(id);
            if in_force == Some(revision) {
                let expected = plane.allowed(issue, view.ranges, view.now, view.allow_monitor);
                let waits = to_claimed(&withheld) | self.oracle.concerned(plane);
                let cut = expected & !judgement.passed & !waits;
                let sources = live.databases.values().find(|one| one.id == *id).map(|one| &one.sources);
                let ranges = view.ranges;
                ensure!(
                    cut == 0,
                    "{id} {revision} of ranges {ranges} is {sources:?}, and cuts {}",
                    describe(cut)
                );
            } else {
                ensure!(!has_room, "{id} {revision} is not in force, {in_force:?} is: {incomplete:?}");
            }
        }
        if reads { self.check_visible(view, plane) } else { Ok(()) }
    }

    /// Returns `true` if all accepted files fit, together with the live state.
    pub(super) fn has_room(&self, view: &View, plane: &ControlPlane) -> bool {
        self.has_room_with(None, view, plane)
    }

    /// The same with another revision of one database.
    fn has_room_with(&self, other: Option<(&DatabaseId, u64)>, view: &View, plane: &ControlPlane) -> bool {
        let live = self.kernel.live();
        let mut room = Room { memory: self.prefixes_before, ..Room::default() };
        room.databases.extend(live.databases.values().map(|one| one.id.clone()));
        for (slot, database) in &live.databases {
            room.prefixes += database.sources.len();
            room.endpoints += live.endpoints_of(*slot).count();
        }
        for (id, (decision, _)) in &view.decisions {
            let Decision::Revision(revision) = *decision else { continue };
            let revision = other.filter(|(other, _)| *other == id).map_or(revision, |(_, revision)| revision);
            room.add(id, revision, view, plane);
            // The earlier rules are restored first.
            let is_replaced =
                |before: &&InForce| self.ranges != view.ranges || **before != InForce::complete(revision);
            let before = self.remembered.get(id).filter(is_replaced);
            room.memory += before.map_or(0, |before| prefixes_of(id, before, view, plane));
        }
        room.is_within(self) && self.has_room_for_blocks()
    }

    /// Returns `true` if all revisions recorded as in force fit on an empty kernel, with the ranges of before the pass.
    fn has_room_again(&self, view: &View, plane: &ControlPlane) -> bool {
        let mut room = Room::default();
        let before = View { ranges: self.ranges, ..view.clone() };
        for (id, in_force) in self.remembered.iter().filter(|(_, in_force)| !in_force.is_lost) {
            match &in_force.rules {
                None => room.add(id, in_force.revision, &before, plane),
                Some(rules) => room.add_rules(id, rules),
            }
        }
        room.is_within(self) && self.has_room_for_blocks()
    }

    /// Returns `true` if the networks that both the rules recorded as in force and an accepted file allow are no more
    /// than the recorded ones. Of a wide prefix with more parts, only some are restored.
    fn is_common_smaller(&self, id: &DatabaseId, issue: &Issue, view: &View, plane: &ControlPlane) -> bool {
        let Some(before) = self.remembered.get(id) else { return true };
        let networks = match (&before.rules, plane.issue(id, before.revision)) {
            (Some(rules), _) => rules.networks.clone(),
            (None, Some(issue)) => plane.nets(issue, self.ranges, view.now),
            (None, None) => return true,
        };
        let wanted = plane.nets(issue, view.ranges, view.now);
        let within = |nets: &BTreeSet<IpNet>, net: &&IpNet| nets.iter().any(|wider| wider.contains(*net));
        let common = networks.iter().filter(|net| within(&wanted, net));
        let common = common.chain(wanted.iter().filter(|net| within(&networks, net)));
        common.collect::<BTreeSet<_>>().len() <= networks.len()
    }

    /// Checks that a visible file, newer than everything before and without contention, is accepted.
    fn check_visible(&self, view: &View, plane: &ControlPlane) -> Result<()> {
        let valid = |id: &DatabaseId| {
            let id = id.clone();
            move |revision: u64| {
                plane.issue(&id, revision).is_some_and(|issue| view.allow_monitor || !issue.monitor)
            }
        };
        for id in plane.ids() {
            let Some(visible) = self.channel.visible(&id, valid(&id)) else { continue };
            let decision = view.decisions.get(&id).map(|(decision, _)| *decision).unwrap_or_default();
            if decision == Decision::Revision(visible) || visible <= self.oracle.highest(&id) {
                continue;
            }
            let mine = &plane.issue(&id, visible).context("never issued")?.destinations;
            let live = self.kernel.live();
            let mut others: BTreeSet<Destination> = live
                .owners()
                .filter(|(_, owner)| owner.is_some_and(|owner| *owner != id))
                .map(|(destination, _)| destination)
                .collect();
            for other in plane.ids().iter().filter(|other| **other != id) {
                let accepted = view.decisions.get(other).map(|(decision, _)| *decision);
                let accepted =
                    if let Some(Decision::Revision(revision)) = accepted { Some(revision) } else { None };
                let seen = self.channel.visible(other, valid(other));
                for issue in
                    [accepted, seen].into_iter().flatten().filter_map(|revision| plane.issue(other, revision))
                {
                    others.extend(&issue.destinations);
                }
            }
            let contends = mine.iter().any(|one| others.iter().any(|two| one.overlaps(two)));
            ensure!(contends, "{id} {visible} is there, and was not accepted: {decision:?}");
        }
        Ok(())
    }

    /// A host without obstacles has the newest revisions in force, and nothing else closed.
    pub fn check_caught_up(&mut self, plane: &ControlPlane) -> Result<()> {
        if self.agent.is_some() {
            self.guard(|agent| agent.reconciler.store.retry())?;
        }
        let ids = plane.ids();
        let active = |id: &DatabaseId| plane.issue(id, plane.newest(id)).is_some_and(|issue| !issue.removed);
        let fits = ids.iter().filter(|id| active(id)).count() <= usize::try_from(self.databases)?;
        let live = self.kernel.live();
        let mut with_slot: BTreeSet<&DatabaseId> = live.databases.values().map(|one| &one.id).collect();
        with_slot.extend(ids.iter().filter(|id| active(id)));
        if self.old.is_some() && with_slot.len() > usize::try_from(self.databases)? {
            // A database in force in the other layout may have lost its slot to a newcomer, which retains it until the
            // other layout is gone, even if it has left meanwhile.
            return Ok(());
        }
        drop(live);
        let not_running = || format!("no agent runs: {}", self.not_running);
        let agent = self.agent.as_ref().with_context(not_running)?;
        let (view, judgement) = (view(agent), self.kernel.judgement());
        let incomplete = agent.reporter.conditions.incomplete();
        ensure!(!fits || incomplete.is_empty(), "{incomplete:?}");
        ensure!(agent.reconciler.store.is_durable(), "not durable");
        let mut expected = 0;
        for id in &ids {
            let newest = plane.newest(id);
            let decision = view.decisions.get(id).map(|(decision, _)| *decision);
            ensure!(decision == Some(Decision::Revision(newest)), "{id} {newest}: accepted is {decision:?}");
            let in_force = judgement.revisions.get(id).copied();
            ensure!(
                !fits || in_force == active(id).then_some(newest),
                "{id} {newest}: {in_force:?} is in force"
            );
            let issue = plane.issue(id, newest).context("never issued")?;
            expected |= plane.allowed(issue, view.ranges, view.now, true);
        }
        ensure!(view.ranges == plane.ranges.len() as u64, "ranges {} are accepted", view.ranges);
        let blocked = agent.reconciler.accepted.blocked().revision;
        ensure!(blocked == plane.blocked.len() as u64, "blocked ranges {blocked} are accepted");
        let claimed = !self.oracle.unclaimed(false);
        let expected = expected & !self.oracle.blocked.refused();
        let wrong = (judgement.passed ^ expected) & claimed & !self.oracle.overlay.concerned(plane);
        ensure!(!fits || wrong == 0, "wrong: {}", describe(wrong));
        let closed = self.oracle.unclaimed(true) & !judgement.passed & packets::to(|_| true);
        let closed = closed & !self.oracle.overlay.concerned(plane);
        ensure!(closed == 0, "closed, and neither claimed nor guarded: {}", describe(closed));
        Ok(())
    }
}
