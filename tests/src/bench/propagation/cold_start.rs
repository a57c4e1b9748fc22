//! Cold start of a host: rule files exist, kernel and state directory are empty.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::files::{database_id, managed_ranges, rule_file};
use super::pushes::{Wire, stage};
use crate::lab::{Lab, database_of, eventually};

pub const DATABASES: usize = 100;
/// Prefixes in the managed range of each database; the ranges are disjoint.
pub const MANAGED_PREFIXES: usize = 1000;

const PATIENCE: Duration = Duration::from_secs(120);

/// Measures the time from the start of the agent until it has written that every database is in force and the link is
/// attached; `status` must then confirm this from the kernel.
pub fn cold_start(agent: &Path) -> Result<Duration> {
    let lab = Lab::new()?;
    let (_clients, home) = stage(&lab, agent, &Wire::default())?;
    let (ranges, file) = managed_ranges(DATABASES, MANAGED_PREFIXES);
    home.write_ranges(&file.to_string())?;
    for (database, range) in ranges.into_iter().enumerate() {
        home.push(&rule_file(database, 1, &[range], false))?;
    }
    // Reading the file is cheap; querying the kernel for every prefix would take time from the agent.
    let written = home.config().with_file_name("state").join("status.json");
    let started = Instant::now();
    let agent = home.start()?;
    let in_force = eventually(PATIENCE, "all databases in force", || {
        let status = serde_json::from_slice(&fs::read(&written).ok()?).ok()?;
        is_in_force(&status).then(|| started.elapsed())
    });
    let in_force = in_force.map_err(|error| error.context(format!("the agent's log:\n{}", agent.log())))?;
    let status = home.status()?;
    ensure!(is_in_force(&status), "status: not all databases are in force: {status}");
    Ok(in_force)
}

fn is_in_force(status: &Value) -> bool {
    let is_attached = status["interfaces"].as_array().is_some_and(|interfaces| interfaces.len() == 1);
    let is_whole = |id: &str| {
        let database = database_of(status, id);
        let is_complete = database["prefixes"].as_u64().is_some_and(|count| count > MANAGED_PREFIXES as u64);
        database["revision"] == 1 && database["state"] == "applied" && is_complete
    };
    is_attached && (0..DATABASES).all(|database| is_whole(&database_id(database)))
}
