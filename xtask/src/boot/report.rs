//! The report of all runs.

use std::fmt::Write as _;

use anyhow::Result;

use super::record::{Boot, Expected, Record, Step};
use super::release::{RELEASES, Release};

const INTRODUCTION: &str = "\
# Boots under systemd

`cargo xtask boot` installs the project's Debian package in guests with a real systemd as process 1, by the commands of
[install](../docs/install.md), and boots them under QEMU, which emulates every instruction. An allowed and a
denied source send datagrams (IPv4 and IPv6) and TCP connections to the protected port from before the start of each
guest on, without a pause. In the guest a UDP socket opens as early as systemd can start a unit; the database, a
stand-in that listens on TCP, requires the restore unit. Both record every arrival.

A step is *closed* when nothing of the denied source reaches a socket and the allowed source gets in by both protocols.
Steps that must be *open* are the controls. For the emulation, two limits of the units are ten times as long as shipped:
the agent's job 600 s, the restore unit's start 600 s.
";

/// Start of a release's section.
const HEADING: &str = "## ";

/// Returns a report with the section of this record in place of the release's older one; sections are in the order of
/// the releases.
pub fn with(report: &str, record: &Record, circumstances: &str) -> Result<String> {
    let heading = |release: &Release| format!("{HEADING}{}\n", release.title);
    let older: Vec<&str> = report.split_inclusive('\n').collect();
    let starts = older.iter().enumerate().filter(|(_, line)| line.starts_with(HEADING)).map(|(at, _)| at);
    let starts: Vec<usize> = starts.chain([older.len()]).collect();
    let mut text = INTRODUCTION.to_owned();
    for release in RELEASES {
        if release.name == record.release.name {
            section(&mut text, record, circumstances)?;
            continue;
        }
        let older_section = starts.windows(2).find_map(|range| {
            let lines = older.get(*range.first()?..*range.last()?)?;
            (*lines.first()? == heading(release)).then(|| lines.concat())
        });
        if let Some(older_section) = older_section {
            write!(text, "\n{}\n", older_section.trim_end())?;
        }
    }
    Ok(text)
}

fn section(text: &mut String, record: &Record, circumstances: &str) -> Result<()> {
    let Record { release, kernel, systemd, agent, steps: all, boots: timelines, broken } = record;
    let systemd = systemd.split(" (").next().unwrap_or_default();
    writeln!(text, "\n{HEADING}{}\n", release.title)?;
    writeln!(
        text,
        "Run on {circumstances}. Linux {kernel}, {systemd}, network by `{}`, `interfaces: {}`, {agent}.\n",
        release.networking, release.interfaces
    )?;
    boots(text, timelines)?;
    steps(text, all)?;
    if let Some(broken) = broken {
        writeln!(text, "\n**The run ended early**: {broken}")?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_replaces_the_older_one_of_its_release() {
        let [first, second] = [&RELEASES[0], &RELEASES[1]];
        let text = with("", &Record::new(second), "Monday").unwrap();
        let text = with(&text, &Record::new(first), "Tuesday").unwrap();
        let text = with(&text, &Record::new(first), "Wednesday").unwrap();
        let text = with(&text, &Record::new(second), "Thursday").unwrap();
        let found = |what: &str| text.matches(what).count();
        assert_eq!([found("Monday"), found("Tuesday"), found("Wednesday"), found("Thursday")], [0, 0, 1, 1]);
        assert!(text.find(first.title).unwrap() < text.find(second.title).unwrap());
        assert_eq!(text.find(INTRODUCTION), Some(0));
    }
}
