//! `firewall-agent status`: the answer of the daemon, or else the kernel's state and the daemon's last report.

mod text;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use self::text::write_people;
use super::Exit;
use super::command::Directories;
use super::daemon_http::get;
use super::format::Format;
use super::settings::{Located, Settings};
use super::style::Style;
use crate::agent::{counters, kernel_memory, report};
use crate::bpf::{Kernel, Pins, Probe, links};
use crate::config::Listen;
use crate::escape::write_json;
use crate::files::lock::Lock;
use crate::files::read::read_file;
use crate::http::{Counters as _, DatabaseCounters, socket_counters};
use crate::status::{Status, UNFILTERED};
use crate::sync::CommonDigests;

/// Time limit of the daemon's answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Complete output. Field names are an interface.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    status: Status,
    /// The reason that this is not the daemon's answer; `None` if it is.
    fallback: Option<String>,
}

pub(super) fn status(
    settings: &Settings,
    flags: Directories,
    verbose: bool,
    style: Style,
    out: &mut impl Write,
) -> Result<Exit> {
    let is_elsewhere = flags.bpffs_dir.is_some() || flags.state_dir.is_some();
    let directories = settings.directories(flags);
    let answer = if is_elsewhere {
        Err(anyhow::anyhow!("the command line names other directories"))
    } else {
        ask_daemon(settings, &directories)
    };
    let report = match answer {
        Ok(status) => Report { status, fallback: None },
        Err(error) => Report { status: read(&directories)?, fallback: Some(format!("{error:#}")) },
    };
    match style.format {
        Format::Json => write_json(&report, out)?,
        Format::Table | Format::Wide => write_people(&report, verbose, style, out)?,
    }
    Ok(Exit::Done)
}

/// The status by the daemon that owns the state directory.
fn ask_daemon(settings: &Settings, directories: &Located) -> Result<Status> {
    let owner = Lock::owner(&directories.state_dir).context("no agent runs")?;
    let at = settings.listener()?;
    ensure!(matches!(at, Listen::Unix(_)), "listen: no unix socket");
    let (code, body) = get(&at, "/status", PATIENCE)?;
    ensure!(code == 200, "{at}: answer {code} instead of 200");
    let status: Status =
        serde_json::from_str(&body).with_context(|| format!("{at}: not a status of this version"))?;
    let is_owner = status.agent.as_ref().is_some_and(|agent| agent.pid == owner);
    ensure!(is_owner, "{at}: no status yet, or one of another agent");
    Ok(status)
}

/// The state of the kernel, and the daemon's last report on disk.
fn read(directories: &Located) -> Result<Status> {
    let kernel = Kernel::open(&directories.bpffs_dir)?;
    let program = Probe::firewall(&directories.bpffs_dir)?;
    let ours = (program.id()?, program.tag()?);
    let links = links(&Pins::new(&directories.bpffs_dir))?;
    let live = kernel.live()?;
    let mut status = report(links, &live, &mut CommonDigests::default(), (ours.0, &ours.1));
    status.counters = counters(&kernel)?;
    status.socket_counters = socket_counters(kernel.sockets()?, &DatabaseCounters::of(&live));
    status.kernel_memory = Some(kernel_memory(&kernel)?);
    match read_status_file(directories) {
        Ok(reported) => {
            status.observe(&reported.observed());
            status.rejected_files = reported.rejected_files;
            (status.errors, status.conditions) = (reported.errors, reported.conditions);
            (status.ready, status.not_ready) = (reported.ready, reported.not_ready);
            status.repairs = reported.repairs;
            status.agent = reported.agent;
            status.socket_filter = reported.socket_filter;
            for interface in &mut status.interfaces {
                let reported = reported.interfaces.iter().find(|one| one.name == interface.name);
                interface.unprotected_ms = reported.map_or(0, |reported| reported.unprotected_ms);
                // The pins have only the last name that the daemon saw.
                let first = reported.and_then(|reported| reported.renamed_from.clone());
                interface.renamed_from = first.or(interface.renamed_from.take());
            }
            status.interfaces.extend(reported.interfaces.into_iter().filter(|one| one.mode == UNFILTERED));
        }
        Err(error) => status.errors.push(format!("{error:#}")),
    }
    if let Some(agent) = &mut status.agent {
        agent.running = Lock::owner(&directories.state_dir) == Some(agent.pid);
        if !agent.running {
            status.ready = false;
            status.not_ready = vec!["the agent is not running".to_owned()];
        }
    }
    Ok(status)
}

/// Reads the daemon's `status.json`.
pub(super) fn read_status_file(directories: &Located) -> Result<Status> {
    let path = directories.state_dir.join("status.json");
    let bytes =
        read_file(&path).with_context(|| format!("cannot read the daemon's status in {}", path.display()))?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: not a status file of this version", path.display()))
}
