//! `firewall-agent status`: the live state of the kernel, and the last report of the daemon.

use std::io::Write;

use anyhow::{Context as _, Result};

use super::Exit;
use super::format::Format;
use super::settings::Located;
use super::table::{or_dash, time, write_table};
use crate::agent::{counters, report};
use crate::bpf::{Kernel, Pins, Probe, links};
use crate::escape::write_json;
use crate::files::lock::Lock;
use crate::files::read::read_file;
use crate::http::{Counters as _, DatabaseCounters, socket_counters};
use crate::status::{SocketFilterStatus, Status, UNFILTERED};

pub(super) fn status(directories: &Located, format: Format, out: &mut impl Write) -> Result<Exit> {
    let kernel = Kernel::open(&directories.bpffs_dir)?;
    let program = Probe::firewall(&directories.bpffs_dir)?;
    let ours = (program.id()?, program.tag()?);
    let links = links(&Pins::new(&directories.bpffs_dir))?;
    let live = kernel.live()?;
    let mut status = report(links, &live, (ours.0, &ours.1));
    status.counters = counters(&kernel)?;
    status.socket_counters = socket_counters(kernel.sockets()?, &DatabaseCounters::of(&live));
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
    match format {
        Format::Json => write_json(&status, out)?,
        Format::Table => write_people(&status, out)?,
    }
    Ok(Exit::Done)
}

/// Reads the daemon's `status.json`.
pub(super) fn read_status_file(directories: &Located) -> Result<Status> {
    let path = directories.state_dir.join("status.json");
    let bytes =
        read_file(&path).with_context(|| format!("cannot read the daemon's status in {}", path.display()))?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: not a status file of this version", path.display()))
}

fn write_people(status: &Status, out: &mut impl Write) -> Result<()> {
    match &status.agent {
        Some(agent) if agent.running => {
            writeln!(
                out,
                "agent {} running, process {}, since {}",
                agent.version, agent.pid, agent.started_at
            )?;
            writeln!(out, "object sha256:{}", agent.object)?;
        }
        Some(_) => writeln!(out, "agent not running: published rules stay in force")?,
        None => writeln!(out, "agent unknown: {}", status.errors.first().map_or("", String::as_str))?,
    }
    if status.ready {
        writeln!(out, "ready")?;
    }
    for reason in &status.not_ready {
        writeln!(out, "not ready: {reason}")?;
    }
    for (kind, number) in status.repairs.iter().filter(|(_, number)| **number > 0) {
        writeln!(out, "repaired: {kind}, {number} times")?;
    }
    writeln!(out)?;
    let interfaces = status.interfaces.iter().map(|one| {
        [
            one.name.clone(),
            one.mode.clone(),
            one.link_id.to_string(),
            one.program_id.to_string(),
            or_dash(Some(&one.program_tag).filter(|tag| !tag.is_empty())),
            one.unprotected_ms.to_string(),
        ]
    });
    write_table(["INTERFACE", "MODE", "LINK", "PROGRAM", "TAG", "UNPROTECTED MS"], interfaces, out)?;
    write_socket_filter(status, out)?;
    writeln!(out)?;
    let databases = status.databases.iter().map(|one| {
        [
            one.database_id.clone(),
            one.name.clone(),
            one.state.name().to_owned(),
            or_dash(one.revision),
            or_dash(one.generation),
            or_dash(one.applied_at.map(time)),
            or_dash(one.apply_ms),
            or_dash(one.propagation_ms),
            one.prefixes.to_string(),
            one.digest.chars().take(12).collect(),
        ]
    });
    let head = [
        "DATABASE",
        "NAME",
        "STATE",
        "REV",
        "GEN",
        "APPLIED",
        "APPLY MS",
        "PROPAGATION MS",
        "PREFIXES",
        "DIGEST",
    ];
    write_table(head, databases, out)?;
    write_problems(status, out)?;
    writeln!(out)?;
    let counters = status
        .counters
        .iter()
        .map(|one| [one.reason.clone(), one.verdict.clone(), one.packets.to_string(), one.bytes.to_string()]);
    write_table(["REASON", "VERDICT", "PACKETS", "BYTES"], counters, out)?;
    if status.socket_counters.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let sockets = status.socket_counters.iter().map(|one| {
        [
            one.interface.clone(),
            or_dash(one.database_id.as_ref()),
            one.reason.clone(),
            one.packets.to_string(),
            one.bytes.to_string(),
        ]
    });
    write_table(["AT A SOCKET FROM", "DATABASE", "REASON", "PACKETS", "BYTES"], sockets, out)
}

fn write_socket_filter(status: &Status, out: &mut impl Write) -> Result<()> {
    let Some(filter) = &status.socket_filter else { return Ok(()) };
    let SocketFilterStatus { mode, configured, cgroup, loopback, program_tag, .. } = filter;
    if mode == UNFILTERED {
        return Ok(writeln!(out, "\nsocket filter not attached, configured {configured}")?);
    }
    let local = if *loopback { "judged" } else { "exempt" };
    let tag = or_dash(Some(program_tag).filter(|tag| !tag.is_empty()));
    writeln!(out, "\nsocket filter {mode}, loopback {local}, program {tag}")?;
    Ok(writeln!(out, "control group {cgroup}")?)
}

fn write_problems(status: &Status, out: &mut impl Write) -> Result<()> {
    let databases = status.databases.iter().filter_map(|one| {
        Some(format!("{} is {}: {}", one.database_id, one.state.name(), one.problem.as_ref()?))
    });
    let files = status
        .rejected_files
        .iter()
        .flat_map(|file| file.errors.iter().map(move |error| format!("rejected {}: {error}", file.path)));
    let lines: Vec<String> = databases.chain(files).chain(status.errors.iter().cloned()).collect();
    if !lines.is_empty() {
        writeln!(out)?;
    }
    for line in lines {
        writeln!(out, "! {line}")?;
    }
    Ok(())
}
