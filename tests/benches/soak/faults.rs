//! Faults at random, one at a time: the host must recover from each by itself.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use firewall_agent::host::clock;
use firewall_tests::lab::{Agent, agent_binary, eventually, next_layout_binary, wall_clock};
use fs_err as fs;
use fs_err::File;

use crate::Stopper;
use crate::expectations::Pair;
use crate::scene::Scene;
use crate::sockets::Sockets;
use firewall_tests::bench::say;

/// Longest pause between two faults.
const PAUSE: Duration = Duration::from_secs(15);
const DAY: i64 = 86_400;
const UP: Duration = Duration::from_secs(30);

/// A fault that an operator, a neighbour or the weather causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill,
    Upgrade,
    DiskFull,
    ClockStep,
    LinkDown,
    InterfaceReplaced,
}

impl Fault {
    pub const ALL: [Self; 6] =
        [Self::Kill, Self::Upgrade, Self::DiskFull, Self::ClockStep, Self::LinkDown, Self::InterfaceReplaced];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "agent killed, started again after up to 2 s",
            Self::Upgrade => "agent replaced by one of another map layout",
            Self::DiskFull => "state directory full for up to 8 s",
            Self::ClockStep => "wall clock wrong by up to 30 days for up to 10 s",
            Self::LinkDown => "link down for up to 0.5 s",
            Self::InterfaceReplaced => "interface removed and made again",
        }
    }

    fn restarts_the_agent(self) -> bool {
        matches!(self, Self::Kill | Self::Upgrade)
    }
}

/// A fault that is over.
#[derive(Clone, Copy, Debug)]
pub struct Over {
    pub fault: Fault,
    /// From its end until the host was at rest again.
    pub recovery: Duration,
}

pub struct Faults<'a> {
    scene: &'a Scene,
    sockets: &'a Sockets,
    random: Rng,
    agent: Option<Agent>,
    /// The agents of the two layouts; the first is installed.
    agents: [PathBuf; 2],
    /// Wrapper of the agent, with a wall clock that the file of the offset moves.
    front: String,
    offset: PathBuf,
    possible: Vec<Fault>,
    over: Vec<Over>,
}

impl<'a> Faults<'a> {
    /// Starts the agent.
    pub fn new(scene: &'a Scene, sockets: &'a Sockets, seed: u64) -> Result<Self> {
        let offset = scene.dir.join("offset");
        fs::write(&offset, "+0\n")?;
        // The agent believes a synchronised clock, and rules would end by a step forward, as they should.
        let is_believed = clock::synchronised()?;
        let possible =
            Fault::ALL.into_iter().filter(|fault| !(is_believed && *fault == Fault::ClockStep)).collect();
        let mut faults = Self {
            scene,
            sockets,
            random: Rng::with_seed(seed ^ 2),
            agent: None,
            agents: [agent_binary()?, next_layout_binary()?],
            front: format!("env {}", wall_clock(&offset)?.join(" ")),
            offset,
            possible,
            over: Vec::new(),
        };
        faults.start()?;
        Ok(faults)
    }

    pub fn into_over(self) -> Vec<Over> {
        self.over
    }

    /// Causes faults for `time`, or until `stop`. In the middle third of `time` the agent is not restarted, so that one agent lives for
    /// long.
    pub fn run(&mut self, stop: Stopper<'_>, began: Instant, time: Duration) -> Result<()> {
        while !stop.is_set() && began.elapsed() < time {
            let until = Instant::now() + PAUSE.mul_f64(self.random.f64());
            while Instant::now() < until && !stop.is_set() {
                sleep(Duration::from_millis(50));
            }
            let third = (began.elapsed().as_secs_f64() / time.as_secs_f64() * 3.0) as u32;
            let Some(fault) = self.random.choice(&self.possible).copied() else { return Ok(()) };
            if stop.is_set() || third == 1 && fault.restarts_the_agent() {
                continue;
            }
            self.scene.fault.fetch_add(1, Ordering::SeqCst);
            self.happen(fault).with_context(|| format!("{fault:?}"))?;
            let since = Instant::now();
            self.scene.at_rest().with_context(|| format!("after {fault:?}"))?;
            let recovery = since.elapsed();
            self.scene.fault.fetch_add(1, Ordering::SeqCst);
            say(&format!("{:4.0} s: {fault:?}, at rest after {recovery:.1?}", began.elapsed().as_secs_f64()));
            self.over.push(Over { fault, recovery });
        }
        Ok(())
    }

    fn happen(&mut self, fault: Fault) -> Result<()> {
        let share = self.random.f64();
        match fault {
            Fault::Kill => {
                self.take()?.kill()?;
                sleep(Duration::from_secs(2).mul_f64(share));
                self.start()
            }
            Fault::Upgrade => {
                self.take()?.terminate()?;
                self.agents.reverse();
                self.scene.home.install(&self.agents[0])?;
                self.start()
            }
            Fault::DiskFull => self.fill_disk(Duration::from_secs(8).mul_f64(share)),
            Fault::ClockStep => {
                let seconds = self.random.i64(-30 * DAY..30 * DAY);
                fs::write(&self.offset, format!("{seconds:+}\n"))?;
                sleep(Duration::from_secs(10).mul_f64(share));
                Ok(fs::write(&self.offset, "+0\n")?)
            }
            Fault::LinkDown => {
                self.scene.link.fetch_add(1, Ordering::SeqCst);
                self.scene.db.run("ip link set eth0 down")?;
                sleep(Duration::from_millis(500).mul_f64(share));
                self.scene.db.run("ip link set eth0 up")?;
                for database in 0..2 {
                    let pair = Pair { source: 0, database };
                    let is_up = || self.sockets.passes_filter(pair).map(|_| ());
                    eventually(UP, "the link carries datagrams", is_up)?;
                }
                self.scene.link.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
            Fault::InterfaceReplaced => {
                self.scene.db.run("ip link del eth1")?;
                sleep(Duration::from_millis(500).mul_f64(share));
                self.scene.db.run("ip link add eth1 type veth peer name eth1 netns outside")?;
                self.scene.outside.run("ip link set eth1 up")?;
                self.scene.db.run("ip link set eth1 up").map(|_| ())
            }
        }
    }

    /// Fills the file system of the state directory, and empties it after `time`.
    fn fill_disk(&self, time: Duration) -> Result<()> {
        let path = self.scene.home.config().with_file_name("state").join("ballast");
        let mut file = File::create(&path)?;
        let mut chunk = vec![0; 1 << 20];
        while !chunk.is_empty() {
            if file.write_all(&chunk).is_err() {
                chunk.truncate(chunk.len() / 2);
            }
        }
        ensure!(file.metadata()?.len() > 1 << 20, "the state directory is not filled");
        sleep(time);
        Ok(fs::remove_file(&path)?)
    }

    fn take(&mut self) -> Result<Agent> {
        self.scene.agent.store(0, Ordering::SeqCst);
        self.agent.take().context("no agent runs")
    }

    fn start(&mut self) -> Result<()> {
        let agent = self.scene.home.start_by(&self.front, &[])?;
        self.scene.agent.store(agent.pid(), Ordering::SeqCst);
        self.agent = Some(agent);
        Ok(())
    }
}
