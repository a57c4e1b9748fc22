//! Output of `audit`.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::audit::{Audit, Finding, Kind, Unchecked};

/// Complete output. Field names are an interface.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub findings: Vec<Row>,
    pub unchecked: Vec<Unchecked>,
    /// Neither an endpoint nor a guarded port is in force: there is nothing to bypass.
    pub nothing_protected: bool,
}

/// Bypass in the output. Field names are an interface.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    finding: Finding,
    /// Reported, but ignored for the exit code.
    pub accepted: bool,
}

impl Report {
    pub fn new(audit: Audit, accepted: &[Kind], nothing_protected: bool) -> Self {
        let row = |finding: Finding| Row { accepted: accepted.contains(&finding.kind), finding };
        Self {
            findings: audit.findings.into_iter().map(row).collect(),
            unchecked: audit.unchecked,
            nothing_protected,
        }
    }
}

pub(super) fn write_people(report: &Report, out: &mut impl Write) -> Result<()> {
    for Row { finding, accepted } in &report.findings {
        let accepted = if *accepted { "  (accepted)" } else { "" };
        writeln!(out, "{}  {}{accepted}", finding.kind, finding.object)?;
        writeln!(out, "    {}", finding.meaning)?;
        writeln!(out, "    action: {}", finding.advice)?;
        let covers = if finding.socket_filter_covers { "judges" } else { "does not judge" };
        writeln!(out, "    socket filter, in force: {covers} these packets\n")?;
    }
    for Unchecked { fact, reason } in &report.unchecked {
        writeln!(out, "! not checked: {fact}: {reason}")?;
    }
    let accepted = report.findings.iter().filter(|finding| finding.accepted).count();
    let found = report.findings.len();
    match (found, report.unchecked.is_empty()) {
        _ if report.nothing_protected => {
            writeln!(out, "nothing is protected here: no endpoint and no guarded port is in force")?;
        }
        (0, true) => writeln!(out, "no bypass found")?,
        (0, false) => writeln!(out, "no bypass found among the checked objects; the others are unknown")?,
        (_, _) => writeln!(out, "bypasses found: {found}, of which accepted: {accepted}")?,
    }
    Ok(())
}
