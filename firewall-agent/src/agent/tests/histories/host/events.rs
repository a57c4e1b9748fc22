//! Events of a simulated host: faults, configurations, operators' verbs.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};

use super::Host;
use crate::agent::reconcile::Settings;
use crate::agent::tests::histories::agent::{Agent, view};
use crate::agent::tests::histories::control_plane::ControlPlane;
use crate::agent::tests::histories::disk::DiskFault;
use crate::agent::tests::histories::packets::{NETS, describe, to_claimed, to_ports};
use crate::agent::tests::histories::tally::Count;
use crate::rules::DatabaseId;
use crate::sync::{Capacity, Destination, Expiry, Guards, OverlayAction, OverlayId, Ports};

impl Host {
    /// Applies an event to the host itself; returns its description.
    pub fn apply_event(&mut self, now: Timestamp, plane: &ControlPlane) -> Result<String> {
        let entry = match self.rng.u8(0..24) {
            0 => {
                self.skew = SignedDuration::from_secs(self.rng.i64(-9000..9000));
                self.tally.add(Count::Clock);
                format!("the clock is {} s off", self.skew.as_secs())
            }
            1..=3 => {
                let disk_fault = DiskFault::ALL[self.rng.usize(..DiskFault::ALL.len())];
                self.tally.add(Count::Disk);
                self.disk.set_fault(disk_fault, self.rng.bool());
                format!("disk: {disk_fault:?}")
            }
            4 => {
                self.disk.set_fault(DiskFault::None, true);
                (self.hangs, self.is_slow) = (false, false);
                self.set_pace();
                "disk: well".to_owned()
            }
            5 => {
                self.hangs = self.rng.bool();
                self.tally.add(Count::Disk);
                self.is_slow = !self.hangs;
                self.set_pace();
                format!("disk hangs: {}, is slow: {}", self.hangs, self.is_slow)
            }
            6..=8 => {
                let operation = self.rng.usize(..25);
                self.disk.kill_at(operation);
                self.tally.add(Count::DiskKill);
                format!("operation {operation} of the disk kills the agent")
            }
            9..=11 => {
                let kills = self.rng.bool();
                self.fail_writes(10, kills)
            }
            13 => {
                self.kernel.set_unreadable(!self.kernel.is_unreadable() && self.rng.bool());
                self.tally.add(Count::Kernel);
                format!("kernel unreadable: {}", self.kernel.is_unreadable())
            }
            14 => {
                self.tally.add(Count::Kill);
                self.end_agent();
                "killed".to_owned()
            }
            15 => {
                self.tally.add(Count::Restart);
                self.terminate();
                self.configure();
                format!("restarts with {}", self.configuration())
            }
            12 | 16..=18 => {
                let is_planned = self.rng.u8(0..3) == 0;
                self.reboot(now, is_planned);
                self.tally.add(Count::Reboot);
                if self.rng.bool() {
                    self.configure();
                }
                format!("reboots, planned: {is_planned}, with {}", self.configuration())
            }
            19 => {
                self.tally.add(Count::Upgrade);
                self.upgrade();
                "upgrades to another layout".to_owned()
            }
            20..=22 => self.run_verb(now, plane)?,
            _ => {
                self.advance(now, plane)?;
                "the store advances".to_owned()
            }
        };
        Ok(entry)
    }

    /// Refuses one of the next `within` kernel writes, or `kills` the agent there; returns a description.
    pub fn fail_writes(&mut self, within: usize, kills: bool) -> String {
        self.tally.add(Count::Kernel);
        let (write, dead) = (self.rng.usize(..within), self.rng.bool());
        self.kernel.fail_at(write, dead, kills);
        format!("write {write} fails, every later one: {dead}, kills: {kills}")
    }

    /// Another configuration for the next start.
    fn configure(&mut self) {
        let rng = &mut self.rng;
        let guarded: [(&[u16], &[u16]); 6] = [
            (&[5001], &[]),
            (&[], &[]),
            (&[5004], &[]),
            (&[5001, 5009], &[]),
            (&[5004], &[5001]),
            (&[], &[5001, 5009]),
        ];
        let (strict, new_connections) = guarded[rng.usize(..guarded.len())];
        let ports = |ports: &[u16]| ports.iter().copied().collect::<Ports>();
        self.settings.guarded = Guards::new(ports(strict), &ports(new_connections));
        self.settings.limits.allow_monitor = rng.u8(0..4) > 0;
        self.settings.capacity = match rng.u8(0..4) {
            0 => Capacity { prefixes: rng.usize(2..8), ..Capacity::default() },
            1 => Capacity { endpoints: rng.usize(1..4), ..Capacity::default() },
            _ => Capacity::default(),
        };
        self.memory = if rng.u8(0..4) == 0 { rng.usize(2..10) } else { usize::MAX };
        self.kernel.set_memory(self.memory);
    }

    /// Restarts with capacity for the state in force, and for little more; returns a description.
    pub fn tighten(&mut self) -> String {
        self.tally.add(Count::Restart);
        self.terminate();
        let live = self.kernel.live();
        let more = self.rng.usize(..2);
        let (prefixes, endpoints) = (live.prefixes() + more, live.table.endpoints.open().len() + more);
        drop(live);
        self.settings.capacity = Capacity::default();
        self.memory = usize::MAX;
        match self.rng.u8(0..3) {
            0 => self.memory = prefixes,
            1 => self.settings.capacity.endpoints = endpoints,
            _ => self.settings.capacity.prefixes = prefixes,
        }
        self.kernel.set_memory(self.memory);
        format!("restarts with {}", self.configuration())
    }

    /// Leaves room for no prefix from the next start on; returns the limits until then.
    pub fn starve(&mut self) -> (Capacity, usize) {
        let before = (self.settings.capacity, self.memory);
        self.settings.capacity.prefixes = 0;
        before
    }

    /// Restarts with these limits.
    pub fn relieve(&mut self, (capacity, memory): (Capacity, usize)) {
        self.tally.add(Count::Restart);
        self.terminate();
        (self.settings.capacity, self.memory) = (capacity, memory);
        self.kernel.set_memory(memory);
    }

    fn configuration(&self) -> String {
        let Settings { guarded, limits, capacity, .. } = &self.settings;
        let most = |most: usize| if most == usize::MAX { "any".to_owned() } else { most.to_string() };
        let (endpoints, prefixes) = (most(capacity.endpoints), most(capacity.prefixes));
        let (monitor, memory) = (limits.allow_monitor, most(self.memory));
        format!(
            "guarded {guarded:?}, monitor {monitor}, {endpoints} endpoints, {prefixes} prefixes, memory for {memory}"
        )
    }

    pub(super) fn set_pace(&mut self) {
        if let Some(agent) = &mut self.agent {
            (agent.reconciler.store.hangs, agent.reconciler.store.is_slow) = (self.hangs, self.is_slow);
        }
    }

    /// Executes a random operator's verb; returns its description.
    pub fn run_verb(&mut self, now: Timestamp, plane: &ControlPlane) -> Result<String> {
        let ids = plane.ids();
        let id = ids[self.rng.usize(..ids.len())].clone();
        if self.agent.is_none() || self.old.is_some() {
            return Ok("no agent runs".to_owned());
        }
        self.tally.add(Count::Verb);
        match self.rng.u8(0..10) {
            6.. => self.edit_overlay(&id, plane),
            5 => self.detach(plane),
            0 => {
                self.oracle.rebased(&id, plane);
                let done = self.guard(|agent| agent.reconciler.rebase(&id))?;
                if matches!(done, Some(Ok(_))) {
                    self.oracle.has_rebased(&id);
                }
                self.record_state(plane)?;
                Ok(format!("rebase {id}: {}", answer_text(&done)))
            }
            1 | 2 => self.forget(&id, false, now, plane),
            _ => self.forget(&id, true, now, plane),
        }
    }

    /// Adds an entry to the overlay, or drops one.
    fn edit_overlay(&mut self, id: &DatabaseId, plane: &ControlPlane) -> Result<String> {
        let agent = self.agent.as_ref().context("no agent runs")?;
        let overlay = agent.reconciler.persisted.overlay();
        let existing: Vec<(OverlayId, OverlayAction)> =
            overlay.entries().map(|entry| (entry.id.clone(), entry.action.clone())).collect();
        self.tally.add(Count::Overlay);
        self.kernel.take_judgements();
        let (action, until, done) = if let Some((entry, action)) = self.rng.choice(existing)
            && self.rng.bool()
        {
            self.oracle.overlay.drops(&action);
            (action, None, self.guard(|agent| agent.reconciler.drop_overlay(&[entry]))?)
        } else {
            let source = NETS[self.rng.usize(..NETS.len())].parse().context("net")?;
            let database = id.clone();
            let action = match self.rng.u8(0..4) {
                0 => OverlayAction::Block { source, database: None },
                1 => OverlayAction::Block { source, database: Some(database) },
                2 => OverlayAction::Close { database },
                _ => OverlayAction::Allow { source, database },
            };
            let seconds = self.rng.u32(60..7200);
            let until = agent.reconciler.clock.now() + SignedDuration::from_secs(seconds.into());
            let expiry = Expiry::After { seconds: seconds.into() };
            self.oracle.overlay.adds(&action, until);
            let add = |agent: &mut Agent| agent.reconciler.add_overlay(action.clone(), expiry, String::new());
            let done = self.guard(add)?;
            (action, Some(until), done)
        };
        let what = format!("{} {action}", if until.is_some() { "adds" } else { "drops" });
        let agent = self.agent.as_ref().context("no agent runs")?;
        let view = view(agent);
        self.oracle.overlay.seen(&view.overlay, view.now)?;
        for judgement in self.kernel.take_judgements() {
            self.oracle.state(&judgement, plane).with_context(|| what.clone())?;
        }
        if matches!(done, Some(Ok(_))) {
            self.oracle.overlay.answered(&action, until);
            self.oracle.overlay.finished(&view.overlay);
            self.oracle
                .state(&self.kernel.judgement(), plane)
                .with_context(|| format!("{what}: answered"))?;
        }
        self.record_state(plane)?;
        Ok(format!("{what}: {}", answer_text(&done)))
    }

    /// `detach` or `attach`, as far as it is stored.
    fn detach(&mut self, plane: &ControlPlane) -> Result<String> {
        let is_detached = self.rng.bool();
        self.detached.insert(is_detached);
        let done = self.guard(|agent| agent.reconciler.set_detached(is_detached))?;
        self.record_state(plane)?;
        let done = done.map(|done| done.map(|()| "stored".to_owned()));
        Ok(format!("detached: {is_detached}: {}", answer_text(&done)))
    }

    fn forget(
        &mut self,
        id: &DatabaseId,
        open: bool,
        now: Timestamp,
        plane: &ControlPlane,
    ) -> Result<String> {
        let Some(agent) = &self.agent else { return Ok("no agent runs".to_owned()) };
        self.channel.withdraw(id);
        let (claims, guarded) =
            (agent.reconciler.persisted.claimed_by(id), agent.reconciler.settings.guarded.strict().clone());
        if !agent.reconciler.knows(id) && claims.is_empty() {
            return Ok(format!("{id} is not known"));
        }
        let is_lost = agent.reconciler.is_uncertain && self.kernel.is_unreadable();
        let before = is_lost.then(|| agent.reconciler.persisted.clone());
        let done = self.guard(|agent| agent.reconciler.forget(id, open))?;
        if let Some(before) = before {
            let agent = self.agent.as_ref().context("no agent runs")?;
            let is_same = agent.reconciler.persisted == before && self.kernel.take_judgements().is_empty();
            let is_refused = is_same && matches!(done, Some(Err(_)));
            ensure!(is_refused, "forget {id} changes what cannot be read back: {}", answer_text(&done));
            return Ok(format!("forget {id}, open {open}: {}", answer_text(&done)));
        }
        [&mut self.recorded, &mut self.before_boot, &mut self.lost]
            .into_iter()
            .for_each(|map| _ = map.remove(id));
        self.oracle.forgets(id);
        let judgements = self.kernel.take_judgements();
        let released = if open { claims.clone() } else { BTreeSet::new() };
        self.oracle.releases(id, &released, plane)?;
        for judgement in judgements {
            let what = || format!("forget {id}, open {open}, releases {released:?}: {}", answer_text(&done));
            self.oracle.state(&judgement, plane).with_context(what)?;
        }
        self.oracle.forgets(id);
        let live = self.kernel.live();
        let is_row = |to: &&Destination| live.table.endpoints.contains_key(to) && !guarded.contains(to.port);
        let closed: BTreeSet<Destination> = released.iter().filter(is_row).copied().collect();
        drop(live);
        match &done {
            Some(Ok(_)) => {
                self.oracle.released(&released);
                let shut = self.kernel.judgement().passed;
                let is_guarded = to_ports(&guarded);
                let open = to_claimed(&released) & self.oracle.unclaimed(true) & !is_guarded;
                ensure!(open & !shut == 0, "released, and closed: {}", describe(open & !shut));
            }
            Some(Err(_)) => self.oracle.stay_closed(id, &closed),
            None => {}
        }
        self.record_state(plane)?;
        if self.rng.bool() {
            self.pass(now, plane, true)?;
        }
        Ok(format!("forget {id}, open {open}: {}", answer_text(&done)))
    }
}

/// The answer of a verb; `None` when the agent was killed. Without the backtrace of an error, which is slow to resolve.
fn answer_text(answer: &Option<Result<String>>) -> String {
    match answer {
        Some(Ok(answer)) => answer.clone(),
        Some(Err(error)) => format!("{error:#}"),
        None => "killed".to_owned(),
    }
}
