//! The agent at rest.

use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use firewall_tests::lab::{AgentHome, Lab, Settings, User, agent_binary, eventually};

use crate::process::{cpu_time, resident};

pub struct Rest {
    pub databases: usize,
    pub cidrs: usize,
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
    let settings = Settings { interfaces: &["eth0"], xdp_mode: "native", guarded_ports: &["5432"], more: "" };
    let home = AgentHome::new(&lab, &db, &agent_binary()?, User::Unprivileged, &settings)?;
    home.write_ranges(&ranges())?;
    for number in 0..DATABASES {
        home.write_rules(&format!("db-{number}.yaml"), &rules(number))?;
    }
    let agent = home.start()?;
    eventually(Duration::from_secs(120), "all databases in force", || {
        let status = home.status().ok()?;
        (0..DATABASES).all(|number| status.revision(&format!("db-{number}")) == Some(1)).then_some(())
    })?;
    sleep(SETTLING);
    let (started, before) = (Instant::now(), cpu_time(agent.pid())?);
    sleep(WATCHED);
    let seconds = started.elapsed().as_secs_f64();
    let share = (cpu_time(agent.pid())? - before) / seconds;
    let resident = resident(agent.pid())? / 1e6;
    Ok(Rest { databases: DATABASES, cidrs: CUSTOM + MANAGED, seconds, resident, share })
}

const HEAD: &str = "schema_version: 1\nrevision: 1\ngenerated_at: 2026-08-21T15:27:32Z\n";

fn rules(number: usize) -> String {
    let mut text = format!(
        "{HEAD}database_id: db-{number}\nendpoints:\n  - {{address: 192.0.2.10, port: {}}}\nrules:\n  - {{id: managed, \
         type: managed_range, range_id: range-{number}}}\n",
        30_000 + number
    );
    for rule in 0..CUSTOM {
        let _ = writeln!(text, "  - {{id: fr-{rule}, type: custom_range, cidr: 10.{number}.{rule}.0/24}}");
    }
    text + "...\n"
}

fn ranges() -> String {
    let mut text = format!("{HEAD}ranges:\n");
    for number in 0..DATABASES {
        let cidrs: Vec<String> =
            (0..MANAGED).map(|at| format!("100.{number}.{}.{}/32", at / 250, at % 250)).collect();
        let _ = writeln!(text, "  - {{id: range-{number}, name: Region, cidrs: [{}]}}", cidrs.join(", "));
    }
    text + "...\n"
}
