//! Pushes that alternately allow and deny a source, each measured on the wire.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::files::{PREFIXES_OF_RANGE, PROBE, RANGES, SERVER, database_id, managed_ranges, rule_file};
use super::prober::Prober;
use crate::lab::{Agent, AgentHome, Host, Lab, Settings, User};

const RULE_FILE: &str = "bench.yaml";
/// Longest pause between two pushes; the pauses cover all phases of the agent's periodic work.
const LONGEST_PAUSE: Duration = Duration::from_millis(60);
const PHASES: u32 = 16;
/// Phases from one push to the next: even a few pushes are spread over all phases.
const STRIDE: u32 = 5;

/// Times from just before the file is written and renamed to the first datagram with the new verdict.
#[derive(Debug, Default)]
pub struct Series {
    pub added: Vec<Duration>,
    pub removed: Vec<Duration>,
}

/// Measures `pushes` pushes on one host with one agent, after pauses of up to `period` or 60 ms, whichever is longer.
pub fn series(agent: &Path, pushes: usize, period: Duration) -> Result<Series> {
    let lab = Lab::new()?;
    let Scene { home, agent, mut prober, ranges } = scene(&lab, agent, false)?;
    let mut series = Series::default();
    for push in 0..pushes {
        let is_allowed = push % 2 == 0;
        pause(push, period);
        let text = rule_file(0, 2 + push as u64, &ranges, is_allowed).to_string();
        let since = Instant::now();
        home.write_rules(RULE_FILE, &text)?;
        let time = prober.until(is_allowed, since);
        let time = time.with_context(|| format!("push {}; the agent's log:\n{}", push + 1, agent.log()))?;
        if is_allowed { &mut series.added } else { &mut series.removed }.push(time);
    }
    Ok(series)
}

/// A host with a running agent, and the stream of a source to its database.
pub struct Scene {
    pub home: AgentHome,
    pub agent: Agent,
    pub prober: Prober,
    /// Managed ranges of the rule file.
    pub ranges: Vec<String>,
}

/// Builds it with the first revision in force, which allows the source or does not.
pub fn scene(lab: &Lab, agent: &Path, is_allowed: bool) -> Result<Scene> {
    let (clients, home) = stage(lab, agent, &Wire::default())?;
    let (ranges, file) = managed_ranges(RANGES, PREFIXES_OF_RANGE);
    home.write_ranges(&file.to_string())?;
    home.write_rules(RULE_FILE, &rule_file(0, 1, &ranges, is_allowed).to_string())?;
    let mut agent = home.start()?;
    agent.wait_for_revision(&home, &database_id(0), 1)?;
    let state = &home.database(&database_id(0))?["state"];
    ensure!(state == "applied", "before the first push: state {state}, not applied");
    let mut prober = Prober::new(&clients, home.host())?;
    prober.until(is_allowed, Instant::now()).context("before the first push")?;
    Ok(Scene { home, agent, prober, ranges })
}

/// Waits before the push of this index, up to `period` or 60 ms, whichever is longer.
pub fn pause(push: usize, period: Duration) {
    sleep(LONGEST_PAUSE.max(period) * (push as u32 * STRIDE % PHASES) / PHASES);
}

/// A database host, a client host, and the wire between them.
#[derive(Clone, Copy, Debug)]
pub struct Wire<'a> {
    /// Names of the two hosts.
    pub db: &'a str,
    pub clients: &'a str,
    /// Patterns of the filtered interfaces; the wire is `eth0`.
    pub interfaces: &'a [&'a str],
    /// Further lines of the agent's config.
    pub more: &'a str,
}

impl Default for Wire<'_> {
    fn default() -> Self {
        Self { db: "db", clients: "clients", interfaces: &["eth0"], more: "" }
    }
}

/// Returns the client host and the home of an agent on the database host; XDP on the wire is native.
pub fn stage(lab: &Lab, agent: &Path, wire: &Wire<'_>) -> Result<(Host, AgentHome)> {
    let (db, clients) = (lab.host(wire.db)?, lab.host(wire.clients)?);
    let (server, source) = (format!("{SERVER}/24"), format!("{PROBE}/24"));
    lab.link(db.end("eth0", &[&server]), clients.end("eth0", &[&source]))?;
    let settings = Settings { interfaces: wire.interfaces, more: wire.more, ..Settings::default() };
    let home = AgentHome::new(lab, &db, agent, User::Unprivileged, &settings)?;
    Ok((clients, home))
}
