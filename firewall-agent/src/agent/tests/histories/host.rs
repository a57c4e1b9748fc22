//! One simulated host: kernel, disk, files, clock, and agents that start and end.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};

use super::channel::{Channel, RANGES};
use super::control_plane::{ControlPlane, Issue};
use super::disk::{Disk, DiskFault};
use super::faults::Fault;
use super::kernel::{Judgement, SharedKernel};
use super::oracle::{Decision, Oracle, View};
use super::packets::{Packets, describe};
use super::tally::{Count, Tally};
use super::writer::{Promises, Records, Writer};
use crate::agent::load_state::join;
use crate::agent::read_back::ReadBack;
use crate::agent::reconcile::{Reconciler, Settings};
use crate::agent::status_reporter::StatusReporter;
use crate::config::{Config, ConfigFile};
use crate::files::store::LastGoodStore;
use crate::host::clock::Moment;
use crate::http::SharedState;
use crate::rules::{DatabaseId, Limits};
use crate::sync::{
    Capacity, Destination, InForce, Killed, Ports, Presence, Record, RulesInForce, StateStore as _, digest,
};

#[derive(Debug)]
pub struct Agent {
    pub reconciler: Reconciler<SharedKernel, Writer>,
    pub reporter: StatusReporter,
}

impl Agent {
    /// Starts from the state of the disk and the kernel.
    pub fn start(
        disk: &Disk,
        kernel: SharedKernel,
        settings: Settings,
        config: &Config,
        writer: impl FnOnce(Records) -> Writer,
        moment: Moment,
    ) -> Result<Self> {
        let live = ReadBack::live(&kernel)?;
        let records = LastGoodStore::new(disk.clone()).load().context("the store cannot be read")?;
        let mut store = writer(records.iter().map(|record| (Record::key(record), record.clone())).collect());
        let (accepted, persisted, changes, unused) = join(records, &live);
        ensure!(unused.is_empty(), "stored records are not used: {unused:?}");
        store.submit(changes);
        let shared = Arc::new(SharedState::new(config.propagation_window));
        let reporter = StatusReporter::new(config, &accepted, &live, shared)?;
        let reconciler = Reconciler::new(settings, kernel, live, (accepted, persisted), store, moment);
        Ok(Self { reconciler, reporter })
    }
}

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
        let guarded: [&[u16]; 4] = [&[5001], &[], &[5004], &[5001, 5009]];
        self.settings.guarded = guarded[rng.usize(..guarded.len())].iter().copied().collect();
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

    fn configuration(&self) -> String {
        let Settings { guarded, limits, capacity, .. } = &self.settings;
        let most = |most: usize| if most == usize::MAX { "any".to_owned() } else { most.to_string() };
        let (endpoints, prefixes) = (most(capacity.endpoints), most(capacity.prefixes));
        let (monitor, memory) = (limits.allow_monitor, most(self.memory));
        format!(
            "guarded {guarded:?}, monitor {monitor}, {endpoints} endpoints, {prefixes} prefixes, memory for {memory}"
        )
    }

    fn set_pace(&mut self) {
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
        match self.rng.u8(0..6) {
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
            (agent.reconciler.persisted.claimed_by(id), agent.reconciler.settings.guarded.clone());
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
                let is_guarded = super::packets::to_ports(&guarded);
                let open = super::packets::to_claimed(&released) & self.oracle.unclaimed(true) & !is_guarded;
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
        let before = match &self.old {
            Some(old) => old.judgement.clone(),
            None => self.kernel.judgement(),
        };
        let decisions = self.oracle.decisions();
        let snapshot = reads.then(|| self.channel.snapshot());
        let migrates = self.old.is_some();
        let done = self.guard(|agent| {
            agent.reconciler.reconcile(snapshot.as_ref(), moment, &mut agent.reporter);
            if migrates && agent.reconciler.store.flush(Duration::from_secs(5)) {
                agent.reconciler.reconcile(None, moment, &mut agent.reporter);
            }
        })?;
        let judgements = self.kernel.take_judgements();
        ensure!(!self.kernel.is_out_of_memory(), "the kernel has no memory left: the agent ends");
        let agent = self.agent.as_ref().context("no agent runs")?;
        let view = view(agent);
        self.oracle.accepted(&view, plane)?;
        if self.old.is_none() {
            // Of a wide prefix whose parts do not fit, only some parts stay.
            let is_checked = self.is_attached && self.has_room(&view, plane);
            let retained =
                if is_checked { self.oracle.retained(&before, &decisions, &view, plane) } else { 0 };
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
        } else if done.is_some() {
            self.tally.add(Count::Refused);
            // Also where a write was refused: a partly filtered host is better than an unfiltered one.
            self.is_attached = true;
            // A newer revision came into force nevertheless.
            let revisions = self.kernel.revisions();
            self.before_boot
                .retain(|id, (previous, _)| revisions.get(id).is_none_or(|revision| revision <= previous));
        }
        self.record_state(plane)
    }

    /// Checks a host whose kernel accepted every write of a pass.
    fn finish(
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
            let retained = self.oracle.retained(before, decisions, view, plane);
            let retained = if has_room { retained } else { 0 };
            let now = self.kernel.judgement();
            ensure!(retained & !now.passed == 0, "cut by the upgrade: {}", describe(retained & !now.passed));
            (self.old, agent.reconciler.frees_nothing) = (None, false);
            agent.reconciler.force();
        }
        self.is_attached = true;
        self.oracle.finished(view, plane);
        let agent = self.agent.as_ref().context("no agent runs")?;
        let live = self.kernel.live();
        let known = &agent.reconciler.live;
        let is_known = known.table == live.table
            && known.databases == live.databases
            && known.counters == live.counters
            && (&known.claimed, &known.guarded) == (&live.claimed, &live.guarded);
        ensure!(is_known, "the kernel differs from the live state");
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
                Some(judgement.passed & super::packets::from(&sources, false, &destinations))
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
                    let cut = passed & allowed & !judgement.passed & !super::packets::to_claimed(&withheld);
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
                let waits = super::packets::to_claimed(&withheld);
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
    fn has_room(&self, view: &View, plane: &ControlPlane) -> bool {
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
        room.is_within(self)
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
        room.is_within(self)
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
        if std::mem::take(&mut self.is_booting) {
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
        let claimed = !self.oracle.unclaimed(false);
        let wrong = (judgement.passed ^ expected) & claimed;
        ensure!(!fits || wrong == 0, "wrong: {}", describe(wrong));
        let closed = self.oracle.unclaimed(true) & !judgement.passed & super::packets::to(|_| true);
        ensure!(closed == 0, "closed, and neither claimed nor guarded: {}", describe(closed));
        Ok(())
    }

    /// Returns `true` if another map layout is in force.
    pub fn is_upgrading(&self) -> bool {
        self.old.is_some()
    }

    pub fn now_passed(&self) -> Packets {
        self.kernel.judgement().passed
    }
}

/// Capacity used by databases.
#[derive(Debug, Default)]
struct Room {
    databases: BTreeSet<DatabaseId>,
    prefixes: usize,
    endpoints: usize,
    /// Prefixes that need memory.
    memory: usize,
}

impl Room {
    /// Adds a revision of a database.
    fn add(&mut self, id: &DatabaseId, revision: u64, view: &View, plane: &ControlPlane) {
        let Some(issue) = plane.issue(id, revision).filter(|issue| !issue.removed) else { return };
        self.databases.insert(id.clone());
        let prefixes = prefixes(id, revision, view, plane);
        (self.prefixes, self.memory) = (self.prefixes + prefixes, self.memory + prefixes);
        self.endpoints += issue.destinations.len();
    }

    fn add_rules(&mut self, id: &DatabaseId, rules: &RulesInForce) {
        self.databases.insert(id.clone());
        let prefixes = rules.networks.len();
        (self.prefixes, self.memory) = (self.prefixes + prefixes, self.memory + prefixes);
        self.endpoints += rules.destinations.len();
    }

    fn is_within(&self, host: &Host) -> bool {
        let Capacity { endpoints, prefixes, .. } = host.settings.capacity;
        self.databases.len() <= usize::try_from(host.databases).unwrap_or(0)
            && self.prefixes <= prefixes
            && self.memory <= host.memory
            && self.endpoints <= endpoints
    }
}

/// Maximum number of prefixes in force.
fn prefixes_of(id: &DatabaseId, in_force: &InForce, view: &View, plane: &ControlPlane) -> usize {
    match (&in_force.rules, plane.issue(id, in_force.revision)) {
        (Some(rules), _) => rules.networks.len(),
        // Of any list that was in force before.
        (None, Some(issue)) => {
            let lists = 0..=plane.ranges.len() as u64;
            lists.map(|ranges| plane.prefixes(issue, ranges, view.now)).max().unwrap_or(0)
        }
        (None, None) => 0,
    }
}

/// Maximum number of prefixes of a revision.
fn prefixes(id: &DatabaseId, revision: u64, view: &View, plane: &ControlPlane) -> usize {
    let Some(issue) = plane.issue(id, revision) else { return 0 };
    // Without the file, the kernel may have any of the lists.
    let lists = if view.ranges == 0 { 0..=plane.ranges.len() as u64 } else { view.ranges..=view.ranges };
    lists.map(|ranges| plane.prefixes(issue, ranges, view.now)).max().unwrap_or(0)
}

pub fn config(host: usize) -> Config {
    let flags = ConfigFile {
        interfaces: Some(vec!["none".to_owned()]),
        guarded_ports: Some("5001".parse().unwrap()),
        state_dir: Some(PathBuf::from("/nonexistent/state")),
        ..ConfigFile::default()
    };
    Config::resolve(flags, ConfigFile::default(), &format!("host-{host}")).unwrap()
}

/// Settings of a host before any change.
pub fn settings() -> Settings {
    Settings {
        managed_ranges: PathBuf::from(RANGES),
        limits: Limits { max_rules: 30, allow_monitor: true, node_name: None },
        guarded: Ports::from([5001]),
        capacity: Capacity::default(),
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

/// State on which an agent acts.
fn view(agent: &Agent) -> View {
    let Reconciler { accepted, persisted, settings, clock, .. } = &agent.reconciler;
    let mut decisions = BTreeMap::new();
    for id in ["a", "b", "c"].map(|id| id.parse::<DatabaseId>().unwrap()) {
        let decision = match (accepted.files().get(&id), persisted.presence(&id)) {
            (Some(file), _) => (Decision::Revision(file.rules.revision), Some(file.bytes.content.to_vec())),
            (None, Some(Presence::Removed)) if persisted.floor(&id) > 0 => {
                (Decision::Revision(persisted.floor(&id)), None)
            }
            (None, Some(Presence::Removed | Presence::Forgotten)) => (Decision::Forgotten, None),
            (None, Some(Presence::Active) | None) => (Decision::None, None),
        };
        decisions.insert(id, decision);
    }
    View {
        decisions,
        ranges: accepted.ranges().revision,
        now: clock.now(),
        guarded: settings.guarded.clone(),
        allow_monitor: settings.limits.allow_monitor,
    }
}
