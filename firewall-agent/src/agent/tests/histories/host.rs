//! One simulated host: kernel, disk, files, clock, and agents that start and end.

mod checks;
mod events;
mod room;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use super::agent::{Agent, blocked_list, config, settings, view};
use super::channel::Channel;
use super::control_plane::ControlPlane;
use super::disk::{Disk, DiskFault};
use super::faults::Fault;
use super::kernel::{Judgement, SharedKernel};
use super::oracle::{Decision, Oracle, View};
use super::packets::{Packets, describe};
use super::tally::{Count, Tally};
use super::writer::{Promises, Writer};
use crate::agent::read_back::ReadBack;
use crate::agent::reconcile::Settings;
use crate::config::Config;
use crate::host::clock::Moment;
use crate::rules::{DatabaseId, Limits};
use crate::sync::{BlockedSources, Capacity, InForce, Killed, StateStore as _};

/// The kernel of another map layout, in force until a pass of the new agent is complete.
#[derive(Debug)]
struct OldLayout {
    judgement: Judgement,
    databases: usize,
}

#[derive(Debug)]
pub struct Host {
    pub channel: Channel,
    pub kernel: SharedKernel,
    pub agent: Option<Agent>,
    pub tally: Tally,
    oracle: Oracle,
    disk: Disk,
    promises: Promises,
    settings: Settings,
    config: Config,
    old: Option<OldLayout>,
    is_slow: bool,
    hangs: bool,
    databases: u32,
    /// Prefixes for which the kernel has memory.
    memory: usize,
    /// Prefixes in the kernel before the pass: the next pass can use memory that a database frees in this one.
    prefixes_before: usize,
    /// Rules recorded as in force before the pass: those of a revision unless recorded themselves. They may be restored
    /// first.
    remembered: BTreeMap<DatabaseId, InForce>,
    /// Revision of the ranges accepted before the pass.
    ranges: u64,
    /// The blocked ranges in the kernel before the pass.
    blocked_before: Arc<BlockedSources>,
    /// Error of the clock.
    skew: SignedDuration,
    booted: Timestamp,
    /// The kernel is empty: the next start is a boot.
    is_booting: bool,
    /// Programs are attached: the kernel judges packets.
    is_attached: bool,
    /// The agent has just died at a write.
    is_killed: bool,
    /// Result of the last pass, where the host records it.
    pub last_pass: String,
    pub is_logged: bool,
    /// Possible stored values of the detached flag.
    detached: BTreeSet<bool>,
    /// Revisions in force after the last finished pass of the running agent, each with the packets that it passes.
    published: BTreeMap<DatabaseId, (u64, Packets)>,
    /// Those known to be stored as in force.
    recorded: BTreeMap<DatabaseId, (u64, Packets)>,
    /// Those of them that a reboot has ended, with the packets that passed until then.
    before_boot: BTreeMap<DatabaseId, (u64, Packets)>,
    /// Those of them for which the boot had no capacity, with a newer revision accepted before.
    lost: BTreeMap<DatabaseId, (u64, Packets)>,
    /// The reason that the last start failed.
    not_running: String,
    fault: Fault,
    rng: Rng,
}

impl Host {
    pub fn new(number: usize, now: Timestamp, fault: Fault, rng: &mut Rng) -> Self {
        let config = config(number);
        let databases = if rng.u8(0..4) == 0 { 2 } else { 3 };
        Self {
            channel: Channel::default(),
            kernel: SharedKernel::new(databases, rng.fork()),
            agent: None,
            tally: Tally::default(),
            oracle: Oracle::default(),
            disk: Disk::new(rng.fork()),
            promises: Promises::default(),
            settings: Settings {
                limits: Limits { node_name: Some(config.node_name.clone()), ..settings().limits },
                judges_sockets: rng.bool(),
                ..settings()
            },
            config,
            old: None,
            is_slow: false,
            hangs: false,
            databases,
            memory: usize::MAX,
            prefixes_before: 0,
            remembered: BTreeMap::new(),
            ranges: 0,
            blocked_before: Arc::default(),
            skew: SignedDuration::ZERO,
            booted: now - SignedDuration::from_hours(1),
            is_booting: true,
            is_attached: false,
            is_killed: false,
            last_pass: String::new(),
            is_logged: false,
            detached: BTreeSet::from([false]),
            published: BTreeMap::new(),
            recorded: BTreeMap::new(),
            before_boot: BTreeMap::new(),
            lost: BTreeMap::new(),
            not_running: String::new(),
            fault,
            rng: rng.fork(),
        }
    }

    /// Runs code of the agent; `None` when that killed it.
    fn guard<T>(&mut self, work: impl FnOnce(&mut Agent) -> T) -> Result<Option<T>> {
        let agent = self.agent.as_mut().context("no agent runs")?;
        match catch_unwind(AssertUnwindSafe(|| work(agent))) {
            Ok(done) => Ok(Some(done)),
            Err(killed) if killed.is::<Killed>() => {
                self.tally.add(Count::Killed);
                self.is_killed = true;
                Ok(None)
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Reports accepted files to the oracle; durable facts become firm.
    fn record_state(&mut self, plane: &ControlPlane) -> Result<()> {
        let Some(agent) = &self.agent else { return Ok(()) };
        let is_durable = agent.reconciler.store.is_durable();
        let view = view(agent);
        self.oracle.accepted(&view, plane)?;
        let leaves = |id: &DatabaseId| match view.decisions.get(id).map(|(decision, _)| *decision) {
            Some(Decision::Revision(revision)) => plane.issue(id, revision).is_none_or(|issue| issue.removed),
            Some(Decision::None | Decision::Forgotten) | None => true,
        };
        let revisions = self.kernel.revisions();
        self.recorded.retain(|id, (revision, _)| !leaves(id) && revisions.get(id) == Some(revision));
        [&mut self.before_boot, &mut self.lost].into_iter().for_each(|map| map.retain(|id, _| !leaves(id)));
        if is_durable {
            self.is_stored(&view);
        }
        if std::mem::take(&mut self.is_killed) || self.disk.is_dead() {
            self.end_agent();
        }
        Ok(())
    }

    /// Records that all of the agent's state is on the disk.
    fn is_stored(&mut self, view: &View) {
        self.oracle.durable(view);
        let Some(agent) = &self.agent else { return };
        self.detached = BTreeSet::from([agent.reconciler.detached().is_some()]);
        // A revision that came into force counts until another is in force.
        for (id, revision) in self.kernel.revisions() {
            let is_accepted = matches!(view.decisions.get(&id), Some((Decision::Revision(_), _)));
            let published = self.published.get(&id).filter(|(published, _)| *published == revision);
            if let Some(published) = published.filter(|_| is_accepted) {
                self.recorded.insert(id, *published);
            }
        }
    }

    /// Removes every obstacle.
    pub fn mend(&mut self) {
        self.channel.mend();
        self.disk.set_fault(DiskFault::None, true);
        (self.hangs, self.is_slow) = (false, false);
        self.set_pace();
        self.kernel.mend();
        self.terminate();
        self.settings.limits.allow_monitor = true;
        self.settings.capacity = Capacity::default();
        self.memory = usize::MAX;
        self.kernel.set_memory(self.memory);
    }

    /// Kills the process.
    fn end_agent(&mut self) {
        let Some(mut agent) = self.agent.take() else { return };
        let store = &mut agent.reconciler.store;
        if !self.disk.is_dead() && !store.is_durable() && self.rng.bool() {
            // Somewhere in a commit.
            self.disk.kill_at(self.rng.usize(..40));
            let _ = catch_unwind(AssertUnwindSafe(|| store.retry()));
        }
        self.disk.kill();
        self.promises = store.promises.clone();
        drop(agent);
        self.disk.revive();
        self.kernel.mend_writes();
    }

    /// SIGTERM: the agent stores as much as it can.
    pub fn terminate(&mut self) {
        if let Some(agent) = &mut self.agent {
            agent.reconciler.store_clock(true);
            let store = &mut agent.reconciler.store;
            let _ = catch_unwind(AssertUnwindSafe(|| store.flush(Duration::from_secs(5))));
            let view = store.is_durable().then(|| view(agent));
            if let Some(view) = view {
                self.is_stored(&view);
            }
        }
        if self.disk.is_dead() {
            self.end_agent();
        }
        if let Some(agent) = self.agent.take() {
            self.promises = agent.reconciler.store.promises.clone();
            drop(agent);
            self.disk.revive();
            self.kernel.mend_writes();
        }
    }

    pub fn reboot(&mut self, now: Timestamp, is_planned: bool) {
        if is_planned {
            self.terminate();
        }
        self.end_agent();
        let in_force = self.kernel.judgement();
        self.before_boot = std::mem::take(&mut self.recorded);
        self.before_boot
            .retain(|id, (revision, _)| self.old.is_none() && in_force.revisions.get(id) == Some(revision));
        self.before_boot.values_mut().for_each(|(_, passed)| *passed &= in_force.passed);
        self.lost.clear();
        self.disk.cut_power();
        self.kernel = SharedKernel::new(self.databases, self.rng.fork());
        self.kernel.set_memory(self.memory);
        (self.old, self.booted) = (None, now);
        (self.is_booting, self.is_attached) = (true, false);
    }

    fn upgrade(&mut self) {
        self.end_agent();
        if !self.is_attached || self.old.is_some() {
            return;
        }
        [&mut self.recorded, &mut self.before_boot, &mut self.lost].into_iter().for_each(BTreeMap::clear);
        let databases = self.kernel.live().databases.len();
        self.old = Some(OldLayout { judgement: self.kernel.judgement(), databases });
        self.kernel = SharedKernel::new(self.databases, self.rng.fork());
        self.kernel.set_memory(self.memory);
        self.is_booting = true;
    }

    /// Advances the store's thread, and notifies the agent.
    pub fn advance(&mut self, now: Timestamp, plane: &ControlPlane) -> Result<()> {
        if self.agent.is_some() {
            self.guard(|agent| agent.reconciler.store.retry())?;
            self.record_state(plane)?;
        }
        if self.agent.is_some() { self.pass(now, plane, false) } else { Ok(()) }
    }

    fn moment(&self, now: Timestamp) -> Moment {
        Moment {
            wall: now + self.skew,
            uptime: Duration::try_from(now.duration_since(self.booted)).unwrap_or_default(),
            synchronised: true,
        }
    }

    /// Runs one pass of the agent, and starts one if none runs. `reads`: with the current files.
    pub fn pass(&mut self, now: Timestamp, plane: &ControlPlane, reads: bool) -> Result<()> {
        let moment = self.moment(now);
        self.kernel.take_judgements();
        self.kernel.take_refused();
        self.prefixes_before = self.kernel.prefixes();
        self.blocked_before = Arc::clone(&self.kernel.live().blocks.ranges.sources);
        let is_first = self.agent.is_none();
        if is_first && self.start(moment, plane).context("start")?.is_none() {
            self.tally.add(Count::Refused);
            self.last_pass = "no agent".to_owned();
            return Ok(());
        }
        let reads = reads || is_first;
        let in_force = self.agent.iter().flat_map(|agent| agent.reconciler.persisted.in_force());
        self.remembered = in_force.map(|(id, in_force)| (id.clone(), in_force.clone())).collect();
        self.ranges = self.agent.as_ref().map_or(0, |agent| agent.reconciler.accepted.ranges().revision);
        let of_kernel = self.kernel.judgement();
        self.oracle.blocked.state(&of_kernel)?;
        if reads {
            self.oracle.blocked.reads(self.channel.blocked(), self.settings.capacity.prefixes, &of_kernel);
        }
        let before = self.old.as_ref().map_or(of_kernel, |old| old.judgement.clone());
        let decisions = self.oracle.decisions();
        let snapshot = reads.then(|| self.channel.snapshot());
        let migrates = self.old.is_some();
        let done = self.guard(|agent| {
            agent.reconciler.reconcile(snapshot.as_ref(), moment, &mut agent.reporter);
            if migrates && agent.reconciler.store.flush(Duration::from_secs(5)) {
                agent.reconciler.reconcile(None, moment, &mut agent.reporter);
            }
        })?;
        let (judgements, has_refused) = (self.kernel.take_judgements(), self.kernel.has_refused());
        ensure!(!self.kernel.is_out_of_memory(), "the kernel has no memory left: the agent ends");
        let agent = self.agent.as_ref().context("no agent runs")?;
        let view = view(agent);
        self.oracle.accepted(&view, plane)?;
        for judgement in &judgements {
            self.oracle.blocked.state(judgement)?;
        }
        if self.old.is_none() {
            // Of a wide prefix whose parts do not fit, only some parts stay.
            let is_checked = self.is_attached && self.has_room(&view, plane);
            let retained = if is_checked {
                self.oracle.retained(&before, &decisions, &view, has_refused, plane)
            } else {
                0
            };
            for judgement in &judgements {
                if self.is_attached {
                    self.oracle.state(judgement, plane)?;
                }
                ensure!(retained & !judgement.passed == 0, "cut: {}", describe(retained & !judgement.passed));
            }
        }
        let is_clean = done.is_some() && !agent.reconciler.is_uncertain && !self.kernel.is_unreadable();
        if self.is_logged {
            self.last_pass = format!(
                "killed: {}, clean: {is_clean}, durable: {}, withheld: {:?}, in force: {:?}",
                done.is_none(),
                agent.reconciler.store.is_durable(),
                agent.reconciler.withheld,
                self.kernel.revisions()
            );
        }
        if is_clean {
            self.finish(&before, &decisions, &view, plane, reads)?;
        } else {
            if done.is_some() {
                self.tally.add(Count::Refused);
                // Also where a write was refused: a partly filtered host is better than an unfiltered one.
                self.is_attached = true;
            }
            // A newer revision may have come into force as a whole nevertheless.
            let Judgement { revisions, passed, .. } = self.kernel.judgement();
            self.before_boot.retain(|id, (previous, _)| {
                let newer = revisions.get(id).filter(|revision| *revision > previous);
                newer.and_then(|revision| plane.issue(id, *revision)).is_none_or(|issue| {
                    plane.allowed(issue, view.ranges, view.now, view.allow_monitor) & !passed != 0
                })
            });
        }
        self.record_state(plane)
    }

    /// Starts an agent; `None` when it cannot start.
    fn start(&mut self, moment: Moment, plane: &ControlPlane) -> Result<Option<()>> {
        let Ok(live) = ReadBack::live(&self.kernel) else { return Ok(None) };
        let (kernel, promises) = (self.kernel.clone(), self.promises.clone());
        let writer = |stored| Writer::new(self.disk.clone(), promises, stored, self.fault, self.rng.fork());
        let mut agent =
            Agent::start(&self.disk, kernel, self.settings.clone(), &self.config, writer, moment)?;
        agent.reconciler.frees_nothing = self.old.is_some();
        let store = &mut agent.reconciler.store;
        store.check()?;
        (store.hangs, store.is_slow) = (self.hangs, self.is_slow);
        let is_detached = agent.reconciler.detached().is_some();
        ensure!(self.detached.contains(&is_detached), "detached: {is_detached} after a start");
        self.published.clear();
        let is_first = self.is_booting && self.old.is_none();
        let view = view(&agent);
        let is_boot = std::mem::take(&mut self.is_booting);
        self.oracle.blocked.started(&blocked_list(&agent), &live, &self.kernel.judgement(), is_boot)?;
        if is_boot {
            self.oracle.booted(&view, plane)?;
        } else {
            self.oracle.restarted(&view, &live, plane)?;
        }
        self.agent = Some(agent);
        if !is_first && self.guard(|agent| agent.reconciler.confirm_stored())?.is_none() {
            self.record_state(plane)?;
            return Ok(None);
        }
        Ok(Some(()))
    }

    /// Returns `true` if another map layout is in force.
    pub fn is_upgrading(&self) -> bool {
        self.old.is_some()
    }

    pub fn now_passed(&self) -> Packets {
        self.kernel.judgement().passed
    }
}
