//! Output of `audit`.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::audit::{Audit, Finding, Kind, Unchecked};
use crate::cli::seen_at_sockets::{Seen, SeenByInterface};
use crate::status::SocketFilterStatus;

/// Complete output. Field names are an interface.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub findings: Vec<Row>,
    pub unchecked: Vec<Unchecked>,
    /// Neither an endpoint nor a guarded port is in force: there is nothing to bypass.
    pub nothing_protected: bool,
    /// Mode of the attached socket filter, as the agent last reported it; `None` when unknown.
    pub socket_filter: Option<String>,
}

/// Bypass in the output. Field names are an interface.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    finding: Finding,
    /// Reported, but ignored for the exit code.
    pub accepted: bool,
    /// Packets that came to a socket by the interface of the finding; `None` for a finding about anything else.
    at_sockets: Option<Seen>,
}

impl Report {
    pub fn new(
        audit: Audit,
        accepted: &[Kind],
        nothing_protected: bool,
        socket_filter: Option<SocketFilterStatus>,
    ) -> Self {
        let judges_loopback = socket_filter.as_ref().is_some_and(|filter| filter.loopback);
        let row = |mut finding: Finding| {
            finding.socket_filter_covers |= judges_loopback && finding.kind == Kind::Loopback;
            Row { accepted: accepted.contains(&finding.kind), finding, at_sockets: None }
        };
        Self {
            findings: audit.findings.into_iter().map(row).collect(),
            unchecked: audit.unchecked,
            nothing_protected,
            socket_filter: socket_filter.map(|filter| filter.mode),
        }
    }

    /// Adds what the socket filter saw of each finding.
    pub fn add_seen(&mut self, seen: &SeenByInterface) {
        for row in &mut self.findings {
            row.at_sockets = seen.of(&row.finding);
        }
    }
}

pub(super) fn write_people(report: &Report, out: &mut impl Write) -> Result<()> {
    for Row { finding, accepted, at_sockets } in &report.findings {
        let accepted = if *accepted { "  (accepted)" } else { "" };
        writeln!(out, "{}  {}{accepted}", finding.kind, finding.object)?;
        writeln!(out, "    {}", finding.meaning)?;
        writeln!(out, "    action: {}", finding.advice)?;
        let fate = match report.socket_filter.as_deref() {
            _ if !finding.socket_filter_covers => "does not judge these packets",
            Some("enforce") => "judges these packets, and drops the refused ones",
            Some("monitor") => "judges these packets, and only counts the refused ones",
            Some(_) => "not attached; it would judge these packets",
            None => "unknown, without a report of the agent; it would judge these packets",
        };
        writeln!(out, "    socket filter: {fate}")?;
        if let Some(Seen { packets, refused }) = at_sockets {
            writeln!(
                out,
                "    seen at sockets: {packets} packets to protected ports, {refused} of a refused source"
            )?;
        }
        writeln!(out)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::snapshots::check;

    #[test]
    fn screens_of_audit() {
        let finding = Finding {
            kind: Kind::Interface,
            object: "ens6".to_owned(),
            meaning: "the interface is up without the program: packets to 192.0.2.10:30092/tcp and \
                      [2001:db8:2:1234:5678:9abc:def0:10]:30092/tcp enter the host unfiltered"
                .to_owned(),
            advice: "add ens6 to `interfaces`".to_owned(),
            socket_filter_covers: true,
        };
        let unchecked = Unchecked {
            fact: "nftables".to_owned(),
            reason: "Operation not permitted: needs CAP_NET_ADMIN".to_owned(),
        };
        let audit = Audit { findings: vec![finding], unchecked: vec![unchecked] };
        let mut report = Report::new(audit, &[], false, filter("monitor", false));
        report.findings[0].at_sockets = Some(Seen { packets: 1_234, refused: 12 });
        check("audit", |_, out| write_people(&report, out));
    }

    fn text(kind: Kind, is_covered: bool, socket_filter: Option<SocketFilterStatus>) -> String {
        let finding = Finding {
            kind,
            object: String::new(),
            meaning: String::new(),
            advice: String::new(),
            socket_filter_covers: is_covered,
        };
        let audit = Audit { findings: vec![finding], unchecked: Vec::new() };
        let mut out = Vec::new();
        write_people(&Report::new(audit, &[], false, socket_filter), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn filter(mode: &str, loopback: bool) -> Option<SocketFilterStatus> {
        Some(SocketFilterStatus { mode: mode.to_owned(), loopback, ..SocketFilterStatus::default() })
    }

    #[test]
    fn finding_says_what_the_socket_filter_does_with_its_packets() {
        for (kind, is_covered, socket_filter, fate) in [
            (Kind::Tunnel, true, filter("enforce", false), "drops the refused ones"),
            (Kind::Tunnel, true, filter("monitor", false), "only counts the refused ones"),
            (Kind::Tunnel, true, filter("none", false), "not attached"),
            (Kind::Tunnel, true, None, "unknown"),
            (Kind::Broadcast, false, filter("enforce", true), "does not judge"),
            (Kind::Loopback, false, filter("enforce", false), "does not judge"),
            (Kind::Loopback, false, filter("enforce", true), "drops the refused ones"),
        ] {
            let text = text(kind, is_covered, socket_filter);
            assert!(text.contains(fate), "{kind}: {text}");
        }
    }
}
