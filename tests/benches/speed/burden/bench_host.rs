//! One of two hosts that differ only in the burden of one.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use firewall_tests::bench::propagation::files::{
    PREFIXES_OF_RANGE, RANGES, RULES, database_id, managed_ranges, rule_file,
};
use firewall_tests::bench::propagation::{Prober, Wire, stage};
use firewall_tests::lab::{Agent, AgentHome, Host, Lab, agent_binary, database_of, eventually};

use firewall_tests::bench::{cpu_time, resident};

/// Pushes to each of the two.
pub const PUSHES: u64 = 300;
/// Time for which both are observed at rest.
pub const WATCHED: Duration = Duration::from_secs(30);
const SETTLING: Duration = Duration::from_secs(5);
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct BenchHost {
    clients: Host,
    pub home: AgentHome,
    agent: Option<Agent>,
    ranges: Vec<String>,
    databases: usize,
    revision: u64,
}

/// Figures of one of the two.
pub struct Figures {
    /// Seconds from the file to the wire for each push, ascending.
    pub to_the_wire: Vec<f64>,
    /// Resident memory in bytes.
    pub resident: f64,
    /// Share of one core at rest.
    pub share: f64,
}

impl Figures {
    /// Returns this percentile of the time to the wire, in seconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        self.to_the_wire[(self.to_the_wire.len() * percent / 100).min(self.to_the_wire.len() - 1)]
    }
}

/// Returns the number of prefixes that these databases use.
pub fn prefixes(databases: usize) -> usize {
    databases * (RULES - RANGES + RANGES * PREFIXES_OF_RANGE)
}

impl BenchHost {
    pub fn new(lab: &Lab, wire: &Wire<'_>, databases: usize) -> Result<Self> {
        let (clients, home) = stage(lab, &agent_binary()?, wire)?;
        let (ranges, file) = managed_ranges(RANGES, PREFIXES_OF_RANGE);
        home.write_ranges(&file.to_string())?;
        let mut host = Self { clients, home, agent: None, ranges, databases, revision: 1 };
        for database in 0..databases {
            host.write(database, false)?;
        }
        host.start()?;
        Ok(host)
    }

    fn write(&self, database: usize, probe_is_allowed: bool) -> Result<Instant> {
        self.home.push(&rule_file(database, self.revision, &self.ranges, probe_is_allowed))
    }

    fn start(&mut self) -> Result<()> {
        self.agent = Some(self.home.start()?);
        let is_started = || {
            let status = self.home.status().ok()?;
            (0..self.databases)
                .all(|one| !database_of(&status, &database_id(one))["revision"].is_null())
                .then_some(())
        };
        eventually(PATIENCE, "all databases in force", is_started)
            .with_context(|| self.agent.as_ref().map(Agent::log).unwrap_or_default())
    }

    pub fn restart(&mut self) -> Result<()> {
        if let Some(agent) = self.agent.take() {
            agent.terminate()?;
        }
        self.start()
    }

    /// Adds databases that do not fit.
    pub fn crowd(&self, further: usize) -> Result<()> {
        for database in self.databases..self.databases + further {
            self.write(database, false)?;
        }
        let is_reported = || {
            let status = self.home.ask(&["status", "-o", "json"]).ok()?.out;
            status.contains(&database_id(self.databases + further - 1)).then_some(())
        };
        eventually(PATIENCE, "databases without room are reported", is_reported)
    }

    pub fn add_interfaces(&self, lab: &Lab, further: usize) -> Result<()> {
        for number in 0..further {
            let name = format!("port{number}");
            lab.link(self.home.host().end(&name, &[]), self.clients.end(&name, &[]))?;
        }
        let are_filtered = || {
            let links = self.home.host().run("ip -o link show type veth").ok()?;
            (links.matches("prog/xdp").count() > further).then_some(())
        };
        eventually(PATIENCE, "all interfaces are filtered", are_filtered)
    }

    pub fn pid(&self) -> Result<u32> {
        self.agent.as_ref().map(Agent::pid).context("no agent runs")
    }

    fn push(&mut self, prober: &mut Prober, probe_is_allowed: bool) -> Result<f64> {
        self.revision += 1;
        let since = Instant::now();
        self.write(0, probe_is_allowed)?;
        Ok(prober.until(probe_is_allowed, since)?.as_secs_f64())
    }
}

/// Measures both and returns their figures in the same order; pushes alternate, the rest period is shared.
pub fn compare(one: &mut BenchHost, other: &mut BenchHost) -> Result<[Figures; 2]> {
    let mut hosts = [one, other];
    let mut probers = Vec::new();
    for host in &hosts {
        probers.push(Prober::new(&host.clients, host.home.host())?);
    }
    let mut times = [Vec::new(), Vec::new()];
    for push in 0..PUSHES {
        for ((host, prober), times) in hosts.iter_mut().zip(&mut probers).zip(&mut times) {
            times.push(host.push(prober, push.is_multiple_of(2))?);
        }
    }
    sleep(SETTLING);
    let pids = [hosts[0].pid()?, hosts[1].pid()?];
    let (started, before) = (Instant::now(), [cpu_time(pids[0])?, cpu_time(pids[1])?]);
    sleep(WATCHED);
    let elapsed = started.elapsed().as_secs_f64();
    let figures = |at: usize, mut to_the_wire: Vec<f64>| -> Result<Figures> {
        to_the_wire.sort_by(f64::total_cmp);
        let share = (cpu_time(pids[at])? - before[at]) / elapsed;
        Ok(Figures { to_the_wire, resident: resident(pids[at])?, share })
    };
    let [first, second] = times;
    Ok([figures(0, first)?, figures(1, second)?])
}
