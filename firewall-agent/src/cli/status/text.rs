//! Text of `status`: problems first, within 24 lines for a host with ten databases.

use std::io::Write;

use anyhow::Result;

use super::Report;
use crate::cli::style::Style;
use crate::cli::table::{column, cut, or_dash, text, write_table};
use crate::escape::escaped;
use crate::status::{
    Condition, ConditionStatus, DatabaseState, InterfaceStatus, KernelMemory, RejectedFile,
    SocketFilterStatus, Status, UNFILTERED,
};

/// Lines about problems on a terminal without `-v`.
const PROBLEM_LINES: usize = 3;

pub(super) fn write_people(report: &Report, verbose: bool, style: Style, out: &mut impl Write) -> Result<()> {
    let status = &report.status;
    // A pipe gets everything but the counters.
    let brief = style.width.filter(|_| !verbose);
    write_problems(status, brief, out)?;
    writeln!(out, "{}", summary(status))?;
    match &status.agent {
        Some(agent) if agent.running => {
            let started = style.time(agent.started_at);
            writeln!(out, "agent {} running, process {}, started {started}", agent.version, agent.pid)?;
        }
        Some(agent) => writeln!(out, "agent {} not running", agent.version)?,
        None => writeln!(out, "agent unknown")?,
    }
    if let Some(reason) = &report.fallback {
        writeln!(out, "read from the kernel and status.json: {reason}")?;
    }
    if brief.is_none() {
        if let Some(agent) = status.agent.as_ref().filter(|agent| agent.running) {
            writeln!(out, "object sha256:{}", agent.object)?;
        }
        for (kind, number) in status.repairs.iter().filter(|(_, number)| **number > 0) {
            writeln!(out, "repaired: {kind}, {number} times")?;
        }
    }
    writeln!(out)?;
    write_interfaces(&status.interfaces, style, out)?;
    write_socket_filter(status.socket_filter.as_ref(), brief.is_some(), out)?;
    writeln!(out)?;
    write_databases(status, style, out)?;
    if verbose { write_counters(status, style, out) } else { Ok(()) }
}

/// Entries of the overlay in force: decisions of an operator over the files.
fn overlay(status: &Status) -> impl Iterator<Item = &ConditionStatus> {
    status.conditions.iter().filter(|one| one.name == Condition::Overlay.name())
}

/// Writes every problem, or a few of them, each on one line of this width.
fn write_problems(status: &Status, brief: Option<usize>, out: &mut impl Write) -> Result<()> {
    let all = problems(status, brief.is_some());
    let shown = if brief.is_none() || all.len() <= PROBLEM_LINES { all.len() } else { PROBLEM_LINES - 1 };
    for problem in &all[..shown] {
        let line = escaped(problem);
        let width = brief.map_or(usize::MAX, |width| width.saturating_sub(2));
        writeln!(out, "! {}", cut(&line, width))?;
    }
    if shown < all.len() {
        writeln!(out, "! and {} more problems: status -v", all.len() - shown)?;
    }
    Ok(())
}

fn problems(status: &Status, brief: bool) -> Vec<String> {
    let mut problems = Vec::new();
    match &status.agent {
        Some(agent) if agent.running => {
            problems.extend(status.not_ready.iter().map(|reason| format!("not ready: {reason}")));
        }
        Some(_) => problems.push("agent not running: published rules stay in force".to_owned()),
        None => problems.push("agent unknown".to_owned()),
    }
    match overlay(status).count() {
        entries if brief && entries > 1 => {
            problems.push(format!("overlay: {entries} entries, which `firewall-agent overlay` lists"));
        }
        _ => problems.extend(overlay(status).map(|one| one.message.clone())),
    }
    for RejectedFile { path, errors, .. } in &status.rejected_files {
        let name = path.rsplit('/').next().filter(|_| brief).unwrap_or(path);
        match errors.as_slice() {
            [first, others @ ..] if brief && !others.is_empty() => {
                problems.push(format!("rejected {name}: {} errors: {first}", errors.len()));
            }
            all => problems.extend(all.iter().map(|error| format!("rejected {name}: {error}"))),
        }
    }
    let is_of_a_file =
        |problem: &String| status.rejected_files.iter().any(|file| file.errors.contains(problem));
    for one in &status.databases {
        let problem = one.problem.as_ref();
        let problem =
            problem.filter(|problem| one.state != DatabaseState::Rejected || !is_of_a_file(problem));
        problems.extend(problem.map(|what| format!("{} is {}: {what}", one.database_id, one.state.name())));
    }
    problems.extend(status.errors.iter().filter(|error| !status.not_ready.contains(error)).cloned());
    problems
}

/// Readiness, and the number of each kind of problem.
fn summary(status: &Status) -> String {
    let mut parts = vec![if status.ready { "ready" } else { "not ready" }.to_owned()];
    let mut count = |number: usize, one: &str, many: &str| {
        if number > 0 {
            parts.push(format!("{number} {}", if number == 1 { one } else { many }));
        }
    };
    count(status.rejected_files.len(), "file rejected", "files rejected");
    count(overlay(status).count(), "overlay entry", "overlay entries");
    let in_state = |state| status.databases.iter().filter(|one| one.state == state).count();
    count(in_state(DatabaseState::Degraded), "database degraded", "databases degraded");
    count(in_state(DatabaseState::Orphaned), "database orphaned", "databases orphaned");
    let repairs = status.repairs.values().sum::<u64>();
    count(usize::try_from(repairs).unwrap_or(usize::MAX), "repair", "repairs");
    parts.join(", ")
}

fn write_interfaces(interfaces: &[InterfaceStatus], style: Style, out: &mut impl Write) -> Result<()> {
    let rows = interfaces.iter().map(|one| {
        [
            one.name.clone(),
            one.mode.clone(),
            one.link_id.to_string(),
            one.program_id.to_string(),
            or_dash(Some(&one.program_tag).filter(|tag| !tag.is_empty())),
            one.unprotected_ms.to_string(),
        ]
    });
    let columns = [
        column("INTERFACE", 0),
        column("MODE", 0),
        column("LINK", 4),
        column("PROGRAM", 3),
        column("TAG", 2),
        column("UNPROTECTED MS", 1),
    ];
    write_table(columns, rows, style, out)?;
    for one in interfaces {
        let first = one.renamed_from.as_ref();
        if let Some(first) = first.filter(|first| interfaces.iter().all(|other| other.name != **first)) {
            writeln!(out, "{first} is now {}, still filtered", one.name)?;
        }
    }
    Ok(())
}

fn write_socket_filter(filter: Option<&SocketFilterStatus>, brief: bool, out: &mut impl Write) -> Result<()> {
    let Some(SocketFilterStatus { mode, configured, cgroup, loopback, program_tag, .. }) = filter else {
        return Ok(());
    };
    if mode == UNFILTERED {
        return Ok(writeln!(out, "socket filter not attached, configured {configured}")?);
    }
    let local = if *loopback { "judged" } else { "exempt" };
    let tag = or_dash(Some(program_tag).filter(|tag| !tag.is_empty()));
    writeln!(out, "socket filter {mode}, loopback {local}, program {tag}")?;
    if !brief {
        writeln!(out, "control group {cgroup}")?;
    }
    Ok(())
}

fn write_databases(status: &Status, style: Style, out: &mut impl Write) -> Result<()> {
    let rows = status.databases.iter().map(|one| {
        [
            one.database_id.clone(),
            or_dash(Some(&one.name).filter(|name| !name.is_empty())),
            one.state.name().to_owned(),
            or_dash(one.revision),
            or_dash(one.generation),
            or_dash(one.applied_at.map(|at| style.time(at))),
            or_dash(one.apply_ms),
            or_dash(one.propagation_ms),
            one.prefixes.to_string(),
            one.digest.chars().take(12).collect(),
        ]
    });
    let columns = [
        column("DATABASE", 0),
        text("NAME", 3),
        column("STATE", 0),
        column("REV", 1),
        column("GEN", 7),
        column("APPLIED", 2),
        column("APPLY MS", 6),
        column("PROPAGATION MS", 5),
        column("PREFIXES", 4),
        column("DIGEST", 8),
    ];
    write_table(columns, rows, style, out)
}

fn write_counters(status: &Status, style: Style, out: &mut impl Write) -> Result<()> {
    writeln!(out)?;
    let counters = status
        .counters
        .iter()
        .map(|one| [one.reason.clone(), one.verdict.clone(), one.packets.to_string(), one.bytes.to_string()]);
    let columns = [column("REASON", 0), column("VERDICT", 2), column("PACKETS", 0), column("BYTES", 1)];
    write_table(columns, counters, style, out)?;
    write_sockets(status, style, out)?;
    if let Some(KernelMemory { bytes, bytes_per_cpu, possible_cpus }) = status.kernel_memory {
        let [all, one] = [bytes, bytes_per_cpu].map(|bytes| bytes as f64 / 1e6);
        writeln!(out, "\nmaps: {all:.1} MB, of it {one:.2} MB for each of {possible_cpus} possible CPUs")?;
    }
    Ok(())
}

fn write_sockets(status: &Status, style: Style, out: &mut impl Write) -> Result<()> {
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
    let columns = [
        column("AT A SOCKET FROM", 0),
        column("DATABASE", 1),
        column("REASON", 0),
        column("PACKETS", 0),
        column("BYTES", 2),
    ];
    write_table(columns, sockets, style, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::snapshots::{ago, check, style};
    use crate::status::{AgentStatus, DatabaseStatus, ReasonCounter, SocketCounter};

    fn database(number: u32) -> DatabaseStatus {
        DatabaseStatus {
            database_id: format!("6a316183d0f1f10ecbcca{number:03}"),
            name: format!("orders-{number}"),
            revision: Some(42),
            generation: Some(1_000 + u64::from(number)),
            applied_at: Some(ago(300 * i64::from(number))),
            apply_ms: Some(2),
            propagation_ms: (number != 7).then_some(1_250),
            digest: "9f86d081884c7d659a2feaa0c55ad015".to_owned(),
            prefixes: 1_030,
            ..DatabaseStatus::default()
        }
    }

    /// A host with ten databases and everything that `status` can say.
    fn report() -> Report {
        let interface = InterfaceStatus {
            name: "ens5".to_owned(),
            mode: "native".to_owned(),
            link_id: 17,
            program_id: 231,
            program_tag: "0f1e2d3c4b5a6978".to_owned(),
            unprotected_ms: 0,
            renamed_from: Some("eth0".to_owned()),
        };
        let mut databases: Vec<DatabaseStatus> = (1..=10).map(database).collect();
        databases[2].state = DatabaseState::Rejected;
        databases[2].problem =
            Some("line 9, column 12: rules[0].cidr: \"203.0.113.300/24\": not a CIDR".to_owned());
        databases[4].state = DatabaseState::Degraded;
        databases[4].problem = Some("managed range not found: man-osc-fr1-egress".to_owned());
        let file = |number: u32, errors: &[&str]| RejectedFile {
            path: format!("/etc/firewall-agent/rules.d/6a316183d0f1f10ecbcca{number:03}.yaml"),
            database_id: None,
            errors: errors.iter().map(|error| (*error).to_owned()).collect(),
            causes: Vec::new(),
        };
        let cidr = databases[2].problem.clone().unwrap_or_default();
        let missing = "interface eth0: not found: is now ens5, still filtered; put ens5 into `interfaces`";
        let status = Status {
            agent: Some(AgentStatus {
                running: true,
                pid: 4_711,
                version: "0.1.0".to_owned(),
                object: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned(),
                started_at: ago(97 * 86_400),
            }),
            not_ready: vec![missing.to_owned()],
            interfaces: vec![interface],
            databases,
            rejected_files: vec![
                file(3, &[&cidr, "line 12, column 5: rules[3].id: \"fr-1\": twice in this file"]),
                file(99, &["line 4, column 1: endpoints: missing"]),
            ],
            errors: vec![
                missing.to_owned(),
                "cannot bind unix:/run/firewall-agent/http.sock: Address in use".to_owned(),
            ],
            repairs: [("link".to_owned(), 2), ("maps".to_owned(), 0)].into(),
            counters: vec![
                ReasonCounter {
                    reason: "allowed".to_owned(),
                    verdict: "pass".to_owned(),
                    packets: 123_456_789_012,
                    bytes: 98_765_432_109_876,
                },
                ReasonCounter {
                    reason: "no_match".to_owned(),
                    verdict: "drop".to_owned(),
                    packets: 4_321,
                    bytes: 259_260,
                },
            ],
            socket_filter: Some(SocketFilterStatus {
                mode: "monitor".to_owned(),
                configured: "monitor".to_owned(),
                cgroup: "/sys/fs/cgroup".to_owned(),
                program_tag: "aabbccddeeff0011".to_owned(),
                ..SocketFilterStatus::default()
            }),
            socket_counters: vec![SocketCounter {
                interface: "wg0".to_owned(),
                database_id: Some("6a316183d0f1f10ecbcca001".to_owned()),
                reason: "no_match".to_owned(),
                packets: 12,
                bytes: 720,
            }],
            kernel_memory: Some(KernelMemory {
                bytes: 21_345_678,
                bytes_per_cpu: 174_236,
                possible_cpus: 16,
            }),
            ..Status::default()
        };
        Report { status, fallback: None }
    }

    fn lines(report: &Report, width: Option<u16>) -> Vec<String> {
        let mut out = Vec::new();
        write_people(report, false, style(width), &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn screens_of_status() {
        check("status", |style, out| write_people(&report(), false, style, out));
        check("status-verbose", |style, out| write_people(&report(), true, style, out));
        let mut stopped = report();
        stopped.fallback = Some("no agent runs".to_owned());
        stopped.status.agent.as_mut().unwrap().running = false;
        check("status-stopped", |style, out| write_people(&stopped, false, style, out));
    }

    #[test]
    fn ten_databases_fit_24_lines_with_problems_first() {
        let lines = lines(&report(), Some(80));
        // The next prompt takes a line.
        assert!(lines.len() <= 23, "{lines:#?}");
        let at = |words: &str| lines.iter().position(|line| line.contains(words)).unwrap_or(usize::MAX);
        let order = ["! not ready", "! rejected", "2 files rejected", "INTERFACE", "DATABASE"].map(at);
        assert!(order.is_sorted() && at("DATABASE") < lines.len(), "{lines:#?}");
        assert_eq!(at("allowed"), usize::MAX, "counters need -v: {lines:#?}");
        assert!(at("eth0 is now ens5, still filtered") < lines.len(), "{lines:#?}");
    }

    #[test]
    fn summary_says_ready_and_counts_rejected_files() {
        let mut report = report();
        report.status = Status { ready: true, not_ready: Vec::new(), errors: Vec::new(), ..report.status };
        let lines = lines(&report, None);
        let expected = "ready, 2 files rejected, 1 database degraded, 2 repairs";
        assert!(lines.contains(&expected.to_owned()), "{lines:#?}");
        // A pipe gets every error.
        let errors = lines.iter().filter(|line| line.starts_with("! rejected /etc")).count();
        assert_eq!(errors, 3, "{lines:#?}");
    }

    #[test]
    fn old_name_that_another_interface_has_now_is_no_renamed_one() {
        let mut report = report();
        let mut other = report.status.interfaces[0].clone();
        (other.name, other.renamed_from) = ("eth0".to_owned(), None);
        report.status.interfaces.push(other);
        assert!(lines(&report, None).iter().all(|line| !line.starts_with("eth0 is now")));
    }
}
