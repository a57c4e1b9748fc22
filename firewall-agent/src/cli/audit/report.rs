//! Output of `audit`.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::audit::{Audit, Finding, Kind, Unchecked};

/// Complete output. Field names are an interface.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub ways: Vec<Row>,
    pub not_looked_at: Vec<Unchecked>,
    /// Neither an endpoint nor a guarded port is in force: there is nothing to bypass.
    pub nothing_protected: bool,
}

/// Bypass in the output. Field names are an interface.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    way: Finding,
    /// Reported, but ignored for the exit code.
    pub accepted: bool,
}

impl Report {
    pub fn new(audit: Audit, accepted: &[Kind], nothing_protected: bool) -> Self {
        let row = |way: Finding| Row { accepted: accepted.contains(&way.kind), way };
        Self {
            ways: audit.ways.into_iter().map(row).collect(),
            not_looked_at: audit.not_looked_at,
            nothing_protected,
        }
    }
}

pub(super) fn write_people(report: &Report, out: &mut impl Write) -> Result<()> {
    for Row { way, accepted } in &report.ways {
        let accepted = if *accepted { "  (accepted)" } else { "" };
        writeln!(out, "{}  {}{accepted}", way.kind, way.object)?;
        writeln!(out, "    {}", way.meaning)?;
        writeln!(out, "    action: {}\n", way.advice)?;
    }
    for Unchecked { what, why } in &report.not_looked_at {
        writeln!(out, "! not checked: {what}: {why}")?;
    }
    let accepted = report.ways.iter().filter(|way| way.accepted).count();
    let found = report.ways.len();
    match (found, report.not_looked_at.is_empty()) {
        _ if report.nothing_protected => {
            writeln!(out, "nothing is protected here: no endpoint and no guarded port is in force")?;
        }
        (0, true) => writeln!(out, "no bypass found")?,
        (0, false) => writeln!(out, "no bypass found among the checked objects; the others are unknown")?,
        (_, _) => writeln!(out, "bypasses found: {found}, of which accepted: {accepted}")?,
    }
    Ok(())
}
