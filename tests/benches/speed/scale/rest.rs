//! The agent at rest.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use firewall_tests::lab::{
    AgentHome, Lab, RangesFile, RuleFile, Settings, User, agent_binary, database_of, eventually,
};

use firewall_tests::bench::{cpu_time, resident};

pub struct Rest {
    pub databases: usize,
    pub cidrs: usize,
    pub idle: Idle,
}

/// A process that has nothing to do.
pub struct Idle {
    /// Observation time.
    pub seconds: f64,
    /// Resident memory in millions of bytes.
    pub resident: f64,
    /// Share of one core.
    pub share: f64,
}

const DATABASES: usize = 100;
const CUSTOM: usize = 29;
const MANAGED: usize = 1_000;
/// Pause after the start.
const SETTLING: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(30);

pub fn measure() -> Result<Rest> {
    let lab = Lab::new()?;
    let (db, clients) = (lab.host("db")?, lab.host("clients")?);
    lab.link(db.end("eth0", &["192.0.2.10/24"]), clients.end("eth0", &["192.0.2.20/24"]))?;
    let settings = Settings { guarded_ports: &["5432"], ..Settings::default() };
    let home = AgentHome::new(&lab, &db, &agent_binary()?, User::Unprivileged, &settings)?;
    home.write_ranges(&ranges().to_string())?;
    for number in 0..DATABASES {
        home.push(&rules(number))?;
    }
    let agent = home.start()?;
    eventually(Duration::from_secs(120), "all databases in force", || {
        let status = home.status().ok()?;
        (0..DATABASES)
            .all(|number| database_of(&status, &format!("db-{number}"))["revision"] == 1)
            .then_some(())
    })?;
    Ok(Rest { databases: DATABASES, cidrs: CUSTOM + MANAGED, idle: idle(agent.pid())? })
}

/// Watches a process that nothing disturbs.
pub fn idle(pid: u32) -> Result<Idle> {
    sleep(SETTLING);
    let (started, before) = (Instant::now(), cpu_time(pid)?);
    sleep(WATCHED);
    let seconds = started.elapsed().as_secs_f64();
    let share = (cpu_time(pid)? - before) / seconds;
    Ok(Idle { seconds, resident: resident(pid)? / 1e6, share })
}

fn rules(number: usize) -> RuleFile {
    let file = RuleFile::new(&format!("db-{number}"), 1)
        .endpoint(&format!("192.0.2.10:{}", 30_000 + number))
        .rule(&format!("id: managed, type: managed_range, range_id: range-{number}"));
    (0..CUSTOM).fold(file, |file, rule| file.allow(&format!("10.{number}.{rule}.0/24")))
}

fn ranges() -> RangesFile {
    (0..DATABASES).fold(RangesFile::new(1), |file, number| {
        let cidrs: Vec<String> =
            (0..MANAGED).map(|at| format!("100.{number}.{}.{}/32", at / 250, at % 250)).collect();
        file.range(&format!("range-{number}"), &cidrs)
    })
}
