//! One pgbench client with a trivial query, over TLS.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use firewall_tests::lab::{Host, Lab};

use super::SECONDS;
use crate::rules::{ADDRESS4, PORT};

/// The client's performance.
pub struct Felt {
    /// Transactions per second.
    pub rate: f64,
    /// 99th percentile of the transaction time, in milliseconds.
    pub p99: f64,
}

pub fn pgbench(lab: &Lab, from: &Host) -> Result<Felt> {
    let script = lab.dir().join("nothing.sql");
    fs::write(&script, "SELECT 1;\n")?;
    let log = lab.dir().join("transactions");
    let mut command = from.command("sh");
    // Outside the lab's control group: only the server's sockets are to be judged.
    let group = lab.cgroup().parent().context("the lab has no control group")?.join("cgroup.procs");
    command.args(["-c", "echo 0 > \"$0\" && exec pgbench \"$@\""]).arg(group);
    command.env("PGSSLMODE", "require").args(["-n", "-c", "1", "-j", "1", "-l"]);
    command.arg("--log-prefix").arg(&log).arg("-f").arg(&script);
    command.args(["-T", &SECONDS.to_string(), "-h", &ADDRESS4.to_string(), "-p", &PORT.to_string()]);
    let out = command.args(["-U", "postgres", "postgres"]).output().context("pgbench: not started")?;
    ensure!(out.status.success(), "pgbench: {}", String::from_utf8_lossy(&out.stderr).trim());
    let mut times = Vec::new();
    for entry in fs::read_dir(lab.dir())? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("transactions.")) {
            // client, transaction, microseconds, …
            let text = fs::read_to_string(&path)?;
            let time = |line: &str| line.split(' ').nth(2)?.parse::<f64>().ok();
            times.extend(text.lines().filter_map(time));
            fs::remove_file(&path)?;
        }
    }
    ensure!(!times.is_empty(), "pgbench: no transaction in its log");
    times.sort_by(f64::total_cmp);
    let p99 = times[(times.len() - 1) * 99 / 100] / 1e3;
    Ok(Felt { rate: times.len() as f64 / f64::from(SECONDS), p99 })
}
