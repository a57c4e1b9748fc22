//! Clients of the PostgreSQL server: pgbench from a friend, connections of strangers.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;
use socket2::{Domain, Socket, Type};

use crate::Stopper;
use crate::files::{POSTGRES, SERVER4, STRANGERS, address};
use crate::scene::Scene;

/// Seconds of one run of pgbench.
const RUN: &str = "20";
/// Transactions a second.
const RATE: &str = "100";
/// Answers cross a veth within microseconds.
const ANSWERED: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(20);

/// Figures of pgbench.
#[derive(Debug, Default)]
pub struct Pgbench {
    pub transactions: u64,
    pub runs: u64,
    /// The errors of the runs that failed.
    pub failed: Vec<String>,
}

/// Figures of the strangers' TCP connections.
#[derive(Debug, Default)]
pub struct Strangers {
    pub tries: u64,
    pub connected: u64,
}

/// Runs pgbench over TLS from the first friend until `stop`.
pub fn pgbench(scene: &Scene, stop: Stopper<'_>) -> Result<Pgbench> {
    let script = scene.dir.join("select.sql");
    fs::write(&script, "SELECT 1;\n")?;
    let mut figures = Pgbench::default();
    while !stop.is_set() {
        let mut command = scene.outside.command("pgbench");
        command.env("PGSSLMODE", "require").args(["-n", "-c", "2", "-j", "1", "-T", RUN, "-R", RATE, "-f"]);
        command.arg(&script).args(["-h", &SERVER4.to_string(), "-p", "5432", "-U", "postgres", "postgres"]);
        let out = command.output().context("pgbench: not started")?;
        figures.runs += 1;
        let text = String::from_utf8_lossy(&out.stdout);
        let count =
            text.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
        let count = count.and_then(|count| count.split('/').next()?.trim().parse::<u64>().ok());
        figures.transactions += count.unwrap_or_default();
        if !out.status.success() || count.is_none_or(|count| count == 0) {
            figures.failed.push(String::from_utf8_lossy(&out.stderr).trim().to_owned());
        }
    }
    Ok(figures)
}

/// Lets every stranger in turn try to connect until `stop`.
pub fn strangers(scene: &Scene, stop: Stopper<'_>) -> Result<Strangers> {
    let _inside = scene.outside.enter()?;
    let server = SocketAddr::from((SERVER4, 5432));
    let mut figures = Strangers::default();
    for stranger in STRANGERS.cycle() {
        if stop.is_set() {
            break;
        }
        let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        client.bind(&SocketAddr::new(address(stranger, POSTGRES), 0).into())?;
        figures.tries += 1;
        figures.connected += u64::from(client.connect_timeout(&server.into(), ANSWERED).is_ok());
        sleep(PAUSE);
    }
    Ok(figures)
}
