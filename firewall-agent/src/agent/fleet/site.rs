//! One simulated host: its machine, its directories, its clock, and an agent that comes and goes.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::Fault;
use super::channel::Channel;
use super::machine::{Disk, Machine, Twin};
use super::oracle::Oracle;
use super::provider::Provider;
use crate::agent::host::Host;
use crate::agent::journal::Journal;
use crate::agent::keeper::Keeper;
use crate::agent::machine::{Moment, Plane as _};
use crate::config::{Config, ConfigFile};
use crate::files::store::Store;
use crate::http::Board;
use crate::sync::Live;
use crate::sync::memory::{Killed, Memory};

#[derive(Debug)]
pub struct Site {
    dir: TempDir,
    pub channel: Channel,
    machine: Machine,
    config: Config,
    pub keeper: Option<Keeper<Twin, Disk>>,
    oracle: Oracle,
    /// How far the clock is from the truth.
    skew: SignedDuration,
    booted: Timestamp,
    fault: Fault,
    pub tally: Tally,
}

/// How looks ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// With everything published that was seen.
    pub finished: u32,
    /// With something refused by the kernel, or without an agent.
    pub refused: u32,
    /// By a kill in the middle.
    pub killed: u32,
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            finished: self.finished + other.finished,
            refused: self.refused + other.refused,
            killed: self.killed + other.killed,
        }
    }
}

impl Site {
    pub fn new(number: usize, now: Timestamp, rangeless: bool, fault: Fault) -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let channel = Channel::new(dir.path(), rangeless);
        let given = ConfigFile {
            interfaces: Some(vec!["none".to_owned()]),
            guarded_ports: Some("5001-5003".parse().unwrap()),
            rules_dir: Some(channel.rules.clone()),
            managed_ranges: Some(channel.ranges.clone()),
            state_dir: Some(dir.path().join("state")),
            ..ConfigFile::default()
        };
        Self {
            config: Config::resolve(given, ConfigFile::default(), &format!("host-{number}")).unwrap(),
            dir,
            channel,
            machine: Machine::default(),
            keeper: None,
            oracle: Oracle::default(),
            skew: SignedDuration::ZERO,
            booted: now - SignedDuration::from_hours(1),
            fault,
            tally: Tally::default(),
        }
    }

    /// One thing that happens to the host itself; says what.
    pub fn mishap(&mut self, now: Timestamp, provider: &Provider, rng: &mut Rng) -> Result<String> {
        let what = match rng.u8(0..10) {
            0 => {
                self.skew = SignedDuration::from_secs(rng.i64(-9000..9000));
                format!("the clock is {} s off", self.skew.as_secs())
            }
            1 => {
                self.machine.full.set(rng.u8(0..4) > 0);
                format!("disk full: {}", self.machine.full.get())
            }
            2 => {
                self.machine.unreadable.set(rng.u8(0..3) == 0);
                format!("kernel unreadable: {}", self.machine.unreadable.get())
            }
            3 => {
                let mut memory = self.machine.memory.borrow_mut();
                (memory.failing, memory.dead) = (Some(memory.writes + rng.usize(..20)), rng.bool());
                memory.kills = rng.bool();
                format!("the write {:?} fails", memory.failing)
            }
            4 => {
                self.machine.fuse.set(Some((rng.u32(..4), rng.bool())));
                "a save is the last thing that the agent does".to_owned()
            }
            5 | 6 => {
                self.kill();
                "killed".to_owned()
            }
            7 => {
                self.kill();
                *self.machine.memory.borrow_mut() = Memory::default();
                self.oracle.rebooted();
                self.booted = now;
                fs::create_dir_all(self.config.state_dir.join("last-good"))?;
                fs::write(self.config.state_dir.join("last-good/.half"), "written")?;
                "rebooted".to_owned()
            }
            _ => return self.look(now, provider).map(|()| "looks".to_owned()),
        };
        Ok(what)
    }

    /// From now on nothing can be stored.
    pub fn fill_disk(&mut self) {
        self.machine.full.set(true);
    }

    /// Nothing stands in the way any more.
    pub fn mend(&mut self) {
        self.channel.mend();
        self.machine.full.set(false);
        self.machine.unreadable.set(false);
        self.machine.fuse.set(None);
        self.machine.memory.borrow_mut().failing = None;
    }

    pub fn kill(&mut self) {
        let unstored = self.keeper.take().is_some_and(|keeper| keeper.host.is_unstored());
        let live = &self.machine.memory.borrow().live;
        self.oracle.killed(live, unstored || self.machine.full.get());
    }

    /// Starts the agent where none runs, and has it look at its files.
    pub fn look(&mut self, now: Timestamp, provider: &Provider) -> Result<()> {
        let moment = Moment {
            wall: now + self.skew,
            uptime: Duration::try_from(now.duration_since(self.booted)).unwrap_or_default(),
        };
        let finished = catch_unwind(AssertUnwindSafe(|| self.look_at(moment)));
        let history = std::mem::take(&mut self.machine.memory.borrow_mut().history);
        for live in &history {
            self.oracle.state(live, provider)?;
        }
        match finished {
            Ok(true) => self.tally.finished += 1,
            Ok(false) => {
                self.tally.refused += 1;
                self.oracle.cut_off(&self.channel, provider);
                return Ok(());
            }
            Err(killed) if killed.is::<Killed>() => {
                self.tally.killed += 1;
                self.oracle.cut_off(&self.channel, provider);
                self.kill();
                self.machine.memory.borrow_mut().failing = None;
                return Ok(());
            }
            Err(panic) => resume_unwind(panic),
        }
        let Some(keeper) = &self.keeper else { return Ok(()) };
        let noted = Live { generation: self.machine.held().generation, ..keeper.host.live.clone() };
        ensure!(noted == self.machine.held(), "the kernel holds something else than is noted");
        self.oracle.look(keeper, &self.channel, provider)
    }

    /// Whether everything that was seen could be published.
    fn look_at(&mut self, moment: Moment) -> bool {
        if self.keeper.is_none() && self.start(moment).is_err() {
            return false;
        }
        let Some(keeper) = &mut self.keeper else { return false };
        let mut snapshot = keeper.scan(&self.config);
        self.fault.spoil(keeper, &mut snapshot);
        let unreadable = keeper.unfinished && self.machine.unreadable.get();
        keeper.look(&self.config, snapshot, moment);
        keeper.keep_time();
        !unreadable && keeper.journal.unfinished().next().is_none()
    }

    fn start(&mut self, moment: Moment) -> Result<()> {
        let twin = Twin(self.machine.clone());
        let mut live = twin.live()?;
        let store = Store::open(&self.config.state_dir)?;
        let board = Arc::new(Board::new(self.config.propagation_window));
        self.fault.spoil_start(&mut live, &store);
        let disk = Disk { store, machine: self.machine.clone() };
        let mut host = Host::recall(&self.config, twin, live, disk)?;
        self.fault.spoil_host(&mut host);
        let journal = Journal::new(&self.config, &host, board);
        self.keeper = Some(Keeper::new(&self.config, host, journal, moment));
        Ok(())
    }

    /// What is read back of the host, as `status.json` has it.
    pub fn status(&mut self) -> serde_json::Value {
        let keeper = self.keeper.as_mut().unwrap();
        let status = crate::agent::report(Vec::new(), &keeper.host.live, (0, ""));
        keeper.journal.write(status, &keeper.host, Vec::new());
        serde_json::from_slice(&fs::read(self.dir.path().join("state/status.json")).unwrap()).unwrap()
    }
}
