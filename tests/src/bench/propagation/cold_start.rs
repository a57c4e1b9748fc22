//! Cold start of a host: rule files exist, kernel and state directory are empty.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::files::{database_id, managed_ranges, rule_file};
use super::pushes::{Wire, stage};
use crate::lab::{Lab, Status, eventually};

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
        let status = serde_json::from_slice(&fs::read(&written).ok()?).map(Status).ok()?;
        is_in_force(&status).then(|| started.elapsed())
    });
    let in_force = in_force.map_err(|error| error.context(format!("the agent's log:\n{}", agent.log())))?;
    let status = home.status()?;
    ensure!(is_in_force(&status), "status: not all databases are in force: {}", status.0);
    Ok(in_force)
}

fn is_in_force(status: &Status) -> bool {
    let is_attached = status.0["interfaces"].as_array().is_some_and(|interfaces| interfaces.len() == 1);
    let holds_all = |id: &str| {
        let prefixes = status.0["databases"].as_array().into_iter().flatten().find_map(|database| {
            let is_it = database["database_id"].as_str() == Some(id);
            is_it.then(|| database["prefixes"].as_u64())?
        });
        prefixes.is_some_and(|prefixes| prefixes > MANAGED_PREFIXES as u64)
    };
    let is_whole =
        |id: &str| status.revision(id) == Some(1) && status.state(id) == Some("applied") && holds_all(id);
    is_attached && (0..DATABASES).all(|database| is_whole(&database_id(database)))
}
