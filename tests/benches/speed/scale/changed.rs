//! Changes beside many databases, through the whole agent: from before a file is written to the wire.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use firewall_agent::bpf::Pins;
use firewall_tests::bench::propagation::files::{PORT, PROBE, SERVER, database_id, rule_file};
use firewall_tests::bench::propagation::{Prober, Wire, pause, stage};
use firewall_tests::bench::resident;
use firewall_tests::lab::{Agent, AgentHome, Lab, RuleFile, agent_binary, database_of, eventually};

use crate::run::Pinned;

/// Longest wait for every database in force.
const PATIENCE: Duration = Duration::from_secs(240);

/// Changes of one file, or of one list.
pub struct Changes {
    pub databases: usize,
    /// Prefixes of managed ranges in each database.
    pub managed: usize,
    /// Seconds from before the file is written to the first packet with the new verdict, ascending.
    pub seconds: Vec<f64>,
    /// Resident memory of the agent after them, in millions of bytes.
    pub resident: f64,
    /// Bytes of the published tries, as the kernel counts them.
    pub published: u64,
}

impl Changes {
    /// Returns this percentile, in seconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        self.seconds[(self.seconds.len() * percent / 100).min(self.seconds.len() - 1)]
    }
}

/// Changes one file among many, each with a range of its own.
pub fn one_file(databases: usize, managed: usize, times: usize) -> Result<Changes> {
    let name = |database| format!("range-{database}");
    let list = |database| networks(database * managed, managed);
    let ranges: Vec<(String, Vec<String>)> = (0..databases).map(|one| (name(one), list(one))).collect();
    let lab = Lab::new()?;
    let files = (0..databases).map(|one| rule_file(one, 1, &[name(one)], false)).collect();
    let mut scene = Scene::new(&lab, &ranges, files)?;
    let changes = scene.change(times, |home, push, is_allowed| {
        home.push(&rule_file(0, 2 + push as u64, &[name(0)], is_allowed)).map(|_| ())
    })?;
    Ok(Changes { databases, managed, ..changes })
}

/// Changes one range that every database uses: the last one to be published shows it on the wire.
pub fn shared_range(databases: usize, managed: usize, times: usize) -> Result<Changes> {
    let name = || "shared".to_owned();
    let lab = Lab::new()?;
    // The agent publishes in the order of the ids: that of the probed database is the last.
    let file = |one: usize| match one {
        0 => RuleFile::new(&database_id(0), 1).udp_endpoint(&format!("{SERVER}:{PORT}")),
        _ => RuleFile::new(&format!("a-{one}"), 1)
            .udp_endpoint(&format!("{SERVER}:{}", usize::from(PORT) + one)),
    };
    let files = (0..databases).map(|one| file(one).rule("id: shared, type: managed_range, range_id: shared"));
    let mut scene = Scene::new(&lab, &[(name(), networks(0, managed))], files.collect())?;
    let changes = scene.change(times, |home, push, is_allowed| {
        let mut list = networks(0, managed);
        if is_allowed {
            list[0] = format!("{PROBE}/32");
        }
        home.write_ranges(&ranges_file(2 + push as u64, &[(name(), list)])).map(|_| ())
    })?;
    Ok(Changes { databases, managed, ..changes })
}

/// A host with these files in force.
struct Scene {
    home: AgentHome,
    agent: Agent,
    prober: Prober,
}

impl Scene {
    fn new(lab: &Lab, ranges: &[(String, Vec<String>)], files: Vec<RuleFile>) -> Result<Self> {
        let wire = Wire { more: "max_prefixes: 1000000\n", ..Wire::default() };
        let (clients, home) = stage(lab, &agent_binary()?, &wire)?;
        home.write_ranges(&ranges_file(1, ranges))?;
        for file in &files {
            home.push(file)?;
        }
        let agent = home.start()?;
        eventually(PATIENCE, "all databases in force", || {
            let status = home.status().ok()?;
            files.iter().all(|file| database_of(&status, file.database())["revision"] == 1).then_some(())
        })
        .with_context(|| agent.log())?;
        let mut prober = Prober::new(&clients, home.host())?;
        prober.until(false, Instant::now()).context("before the first change")?;
        Ok(Self { home, agent, prober })
    }

    /// Makes changes that alternately allow and deny the source, and measures each on the wire.
    fn change(
        &mut self,
        times: usize,
        push: impl Fn(&AgentHome, usize, bool) -> Result<()>,
    ) -> Result<Changes> {
        let mut seconds = Vec::new();
        for change in 0..times {
            let is_allowed = change % 2 == 0;
            pause(change, Duration::ZERO);
            let since = Instant::now();
            push(&self.home, change, is_allowed)?;
            let time = self.prober.until(is_allowed, since).with_context(|| self.agent.log())?;
            seconds.push(time.as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        let mut published = 0;
        for pin in fs::read_dir(Pins::new(self.home.pins()).sources())? {
            published += Pinned::open(&pin?.path()).locked();
        }
        let resident = resident(self.agent.pid())? / 1e6;
        Ok(Changes { databases: 0, managed: 0, seconds, resident, published })
    }
}

/// Returns `count` networks of 10.0.0.0/8.
fn networks(first: usize, count: usize) -> Vec<String> {
    let base = u32::from(Ipv4Addr::new(10, 0, 0, 0));
    (first..first + count).map(|at| format!("{}/32", Ipv4Addr::from(base + at as u32))).collect()
}

/// The file of managed ranges, as short as it can be: a file has at most 4 MiB.
fn ranges_file(revision: u64, ranges: &[(String, Vec<String>)]) -> String {
    let mut text =
        format!("schema_version: 1\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\nranges:\n");
    for (name, list) in ranges {
        let _ = writeln!(text, "  - {{id: {name}, name: Example region, cidrs: [{}]}}", list.join(","));
    }
    text + "...\n"
}
