//! Blocks of an allowed source, each measured on the wire: command, withdrawal and expiry.

use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::files::PROBE;
use super::prober::Prober;
use super::pushes::{Scene, pause, scene};
use crate::lab::{AgentHome, Lab, User};

/// Duration of the blocks that expire.
const SHORT: Duration = Duration::from_secs(3);

/// Times until the first datagram with the new verdict.
#[derive(Debug, Default)]
pub struct Overlay {
    /// From before `block` starts.
    pub blocked: Vec<Duration>,
    /// From before `overlay drop` starts.
    pub dropped: Vec<Duration>,
    /// From the end of a block.
    pub expired: Vec<Duration>,
}

/// Measures `blocks` blocks and their withdrawal, and `expiries` blocks that expire.
pub fn series(agent: &Path, blocks: usize, expiries: usize) -> Result<Overlay> {
    let lab = Lab::new()?;
    let Scene { home, agent: _agent, mut prober, .. } = scene(&lab, agent, true)?;
    // Any command: it returns once the daemon takes commands, so that no block includes the daemon's start.
    done(spawn(&home, &["ranges", "--ack"])?)?;
    let mut times = Overlay::default();
    let source = PROBE.to_string();
    for block in 0..blocks {
        pause(block, Duration::ZERO);
        let time = measured(&home, &mut prober, false, &["block", &source, "--for", "1h"]);
        times.blocked.push(time.with_context(|| format!("block {}", block + 1))?);
        let listed = home.ask(&["overlay", "-o", "json"])?;
        let listed: serde_json::Value = serde_json::from_str(&listed.out).context(listed.out)?;
        let id = listed[0]["id"].as_str().context("overlay: no entry")?.to_owned();
        pause(block + 1, Duration::ZERO);
        let time = measured(&home, &mut prober, true, &["overlay", "drop", &id]);
        times.dropped.push(time.with_context(|| format!("drop {}", block + 1))?);
    }
    for expiry in 0..expiries {
        pause(expiry, Duration::ZERO);
        let before = Instant::now();
        done(spawn(&home, &["block", &source, "--for", &format!("{}s", SHORT.as_secs())])?)?;
        prober.until(false, before)?;
        // The agent counts from when it reads the command: the block ends between these two.
        let end = before + SHORT;
        sleep(end.saturating_duration_since(Instant::now()));
        times.expired.push(prober.until(true, end).with_context(|| format!("expiry {}", expiry + 1))?);
    }
    Ok(times)
}

/// Runs a command; returns the time from its start to the verdict `is_allowed`.
fn measured(home: &AgentHome, prober: &mut Prober, is_allowed: bool, arguments: &[&str]) -> Result<Duration> {
    let since = Instant::now();
    let command = spawn(home, arguments)?;
    let time = prober.until(is_allowed, since);
    // A refused command explains the missing verdict.
    done(command)?;
    time
}

fn spawn(home: &AgentHome, arguments: &[&str]) -> Result<Child> {
    let mut command = home.command(User::Unprivileged, "", arguments);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().with_context(|| format!("{arguments:?}"))
}

fn done(command: Child) -> Result<()> {
    let output = command.wait_with_output()?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(())
}
