//! The report of all runs.

use std::fmt::Write as _;

use anyhow::Result;

use super::record::{Boot, Expected, Record, Step};

/// Circumstances of a report.
#[derive(Debug)]
pub struct Circumstances {
    pub date: String,
    pub cores: usize,
}

const INTRODUCTION: &str = "\
# Boots under systemd

`cargo xtask boot` installs the project's Debian package in guests with a real systemd as process 1, by the commands of
[operations](../docs/operations.md), and boots them under QEMU, which emulates every instruction. An allowed and a
denied source send datagrams (IPv4 and IPv6) and TCP connections to the protected port from before the start of each
guest on, without a pause. In the guest a UDP socket opens as early as systemd can start a unit; the database, a
stand-in that listens on TCP, requires the restore unit. Both record every arrival.

A step is *closed* when nothing of the denied source reaches a socket and the allowed source gets in by both protocols.
Steps that must be *open* are the controls. For the emulation, two limits of the units are ten times as long as shipped:
the agent's job 600 s, the restore unit's start 600 s.
";

/// Returns the report as Markdown.
pub fn markdown(records: &[Record], circumstances: &Circumstances) -> Result<String> {
    let Circumstances { date, cores } = circumstances;
    let mut text = format!("{INTRODUCTION}\nRun on {date} on {cores} cores.\n");
    for record in records {
        let systemd = record.systemd.split(" (").next().unwrap_or_default();
        writeln!(
            text,
            "\n## {}\n\nLinux {}, {systemd}, network by `{}`, `interfaces: {}`, {}.\n",
            record.release.title,
            record.kernel,
            record.release.networking,
            record.release.interfaces,
            record.agent
        )?;
        boots(&mut text, &record.boots)?;
        steps(&mut text, &record.steps)?;
        if let Some(broken) = &record.broken {
            writeln!(text, "\n**The run ended early**: {broken}")?;
        }
    }
    Ok(text)
}

fn boots(text: &mut String, boots: &[Boot]) -> Result<()> {
    let head = [
        "boot",
        "early socket",
        "restore starts",
        "attached",
        "restore ends",
        "agent ready",
        "network starts",
        "network up",
        "database starts",
        "allowed source in",
        "attached before the network",
        "wall time",
    ];
    writeln!(
        text,
        "Times in seconds since the start of the kernel; wall time from power on to the end of the boot.\n"
    )?;
    writeln!(text, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()))?;
    for Boot { name, timeline, took } in boots {
        let times = [
            timeline.socket_opens,
            timeline.restore_starts,
            timeline.attached,
            timeline.restore_ends,
            timeline.agent_ready,
            timeline.networking_starts,
            timeline.networking_ends,
            timeline.database_starts,
            timeline.friend,
        ];
        let times = times.map(|time| format!("{time:.1}")).join(" | ");
        writeln!(text, "| {name} | {times} | {:.1} s | {} s |", timeline.lead(), took.as_secs())?;
    }
    Ok(())
}

fn steps(text: &mut String, steps: &[Step]) -> Result<()> {
    let head = [
        "step",
        "must be",
        "datagrams sent by the denied source",
        "connects tried",
        "in",
        "arrivals of the allowed source",
        "took",
        "seen",
    ];
    writeln!(text, "\n| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()))?;
    for step in steps {
        let Step { name, expected, sent, entered, allowed, took, note, failure } = step;
        let expected = match expected {
            Expected::Closed => "closed",
            Expected::Open => "open",
        };
        let seen = failure.as_ref().map_or_else(|| note.clone(), |failure| format!("**failed**: {failure}"));
        writeln!(
            text,
            "| {name} | {expected} | {} | {} | {entered} | {allowed} | {} s | {} |",
            sent.datagrams,
            sent.connects,
            took.as_secs(),
            seen.replace(['\n', '|'], " ")
        )?;
    }
    Ok(())
}
