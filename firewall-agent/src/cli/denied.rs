//! `firewall-agent denied [DATABASE] [--since TIME] [--follow] [--by N]`: refused sources, and the rule that would admit
//! them.

mod follow;
mod report;

use std::io::Write;

use anyhow::Result;
use jiff::Timestamp;

#[cfg(test)]
pub(super) use self::report::DeniedKind;
pub(super) use self::report::{DeniedRow, Grouping, kernel_rows};
use self::report::{Report, rows, totals};
use super::format::Format;
use super::known_databases::KnownDatabases;
use super::settings::Located;
use super::since::Since;
use super::style::Style;
use super::table::{column, or_dash, write_table};
use super::{BadInput, Exit};
use crate::agent::{DeniedPeriod, remembers_since};
use crate::bpf::Kernel;
use crate::escape::write_json;
use crate::status::refusals::Refusal;

/// Selection and aggregation of denied packets.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Question {
    /// Only packets that this database denied
    pub database: Option<String>,
    /// Print packets since then, as the agent remembers them: 12h, 3d, 2026-08-21 or 2026-08-21T15:27:32Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,
    /// Print a row for each reason, class and hook
    #[arg(long)]
    pub by_kind: bool,
    /// Follow: print one line per source and second with denied packets
    #[arg(short, long, conflicts_with_all = ["by", "by6", "since", "by_kind", "watch"])]
    pub follow: bool,
    /// Aggregate IPv4 sources by prefixes of this length, and IPv6 sources by /64 without --by6
    #[arg(long, value_name = "LENGTH", value_parser = clap::value_parser!(u8).range(0..=32))]
    pub by: Option<u8>,
    /// Aggregate IPv6 sources by prefixes of this length
    #[arg(long, value_name = "LENGTH", value_parser = clap::value_parser!(u8).range(0..=128))]
    pub by6: Option<u8>,
    /// Print at most this many rows, most packets first
    #[arg(long, value_name = "ROWS", default_value_t = 50)]
    pub top: usize,
}

impl Question {
    /// Whole addresses without `--by` and `--by6`.
    fn grouping(&self) -> Grouping {
        let lengths = match (self.by, self.by6) {
            (None, None) => (32, 128),
            (by, by6) => (by.unwrap_or(32), by6.unwrap_or(64)),
        };
        Grouping { lengths, by_kind: self.by_kind }
    }
}

pub(super) fn denied(
    directories: &Located,
    mut question: Question,
    style: Style,
    out: &mut impl Write,
) -> Result<Exit> {
    let mut report = match question.since {
        Some(since) => remembered(directories, &question, since.before(Timestamp::now()))?,
        None => {
            let kernel = Kernel::open(&directories.bpffs_dir)?;
            if let Some(database) = &mut question.database {
                *database = KnownDatabases::live(&kernel.live()?).find(database)?.to_string();
            }
            if question.follow {
                return follow::follow(&kernel, &question, style.format, out);
            }
            recorded(&kernel, directories, &question)?
        }
    };
    report.denied.truncate(question.top);
    match style.format {
        Format::Json => write_json(&report, out)?,
        Format::Table | Format::Wide => write_people(&report, style, out)?,
    }
    Ok(Exit::Done)
}

/// Report of the kernel's table.
fn recorded(kernel: &Kernel, directories: &Located, question: &Question) -> Result<Report> {
    let (remembers_since, skipped) = match remembers_since(&directories.state_dir) {
        Ok(since) => (since, Vec::new()),
        Err(error) => (None, vec![format!("{error:#}")]),
    };
    Ok(Report {
        totals: Some(totals(kernel)?),
        since: None,
        remembers_since,
        left_out: 0,
        skipped,
        denied: kernel_rows(kernel, question.database.as_deref(), question.grouping())?,
    })
}

/// Report of the memory. Without a kernel, as before the first agent of a boot, it has the summaries alone.
fn remembered(directories: &Located, question: &Question, since: Timestamp) -> Result<Report> {
    let opened = Kernel::open(&directories.bpffs_dir);
    let (kernel, problem) = match opened {
        Ok(kernel) => (Some(kernel), None),
        Err(error) => (None, Some(format!("packets since the last summary: {error:#}"))),
    };
    let mut period = DeniedPeriod::read(&directories.state_dir, kernel.as_ref(), since)?;
    let database = question.database.as_deref();
    let database = database.map(|text| subject(directories, kernel.as_ref(), text, &period.refusals));
    let database = database.transpose()?;
    period.skipped.extend(problem);
    Ok(Report {
        totals: kernel.as_ref().map(totals).transpose()?,
        since: Some(since),
        remembers_since: period.remembers_since,
        left_out: period.left_out,
        skipped: period.skipped,
        denied: rows(period.refusals, database.as_deref(), question.grouping()),
    })
}

/// The id of a database that this host knows, or that the memory names.
fn subject(
    directories: &Located,
    kernel: Option<&Kernel>,
    database: &str,
    refusals: &[Refusal],
) -> Result<String, BadInput> {
    let live = kernel.and_then(|kernel| kernel.live().ok()).unwrap_or_default();
    let known =
        KnownDatabases::stored(&directories.state_dir, &live).unwrap_or_else(|_| KnownDatabases::live(&live));
    match known.find(database) {
        Ok(id) => Ok(id.to_string()),
        Err(_) if refusals.iter().any(|one| one.kind.database_id.as_deref() == Some(database)) => {
            Ok(database.to_owned())
        }
        Err(error) => Err(error),
    }
}

fn write_people(report: &Report, style: Style, out: &mut impl Write) -> Result<()> {
    let rows = report.denied.iter().map(|one| {
        [
            one.source.clone(),
            one.sources.to_string(),
            one.packets.to_string(),
            or_dash(one.database_id.as_ref()),
            one.endpoint.clone(),
            one.each(|kind| kind.reason.clone()),
            one.each(|kind| kind.class.clone()),
            one.each(|kind| {
                let name = kind.interface.as_ref().map(|name| format!(": {name}")).unwrap_or_default();
                format!("{}{name}", kind.hook)
            }),
            style.time(one.first_seen),
            style.time(one.last_seen),
        ]
    });
    let columns = [
        column("SOURCE", 0),
        column("SOURCES", 8),
        column("PACKETS", 1),
        column("DATABASE", 5),
        column("ENDPOINT", 2),
        column("REASON", 3),
        column("CLASS", 7),
        column("HOOK", 6),
        column("FIRST SEEN", 9),
        column("LAST SEEN", 4),
    ];
    write_table(columns, rows, style, out)?;
    let mut rules: Vec<(&str, &str)> = Vec::new();
    for one in &report.denied {
        if let Some((database, rule)) = one.database_id.as_deref().zip(one.suggestion.as_deref())
            && !rules.contains(&(database, rule))
        {
            rules.push((database, rule));
        }
    }
    if !rules.is_empty() {
        writeln!(out, "\nrules that would admit these sources:")?;
        rules.iter().try_for_each(|(database, rule)| writeln!(out, "  {database}  - {rule}"))?;
    }
    writeln!(out)?;
    report.skipped.iter().try_for_each(|problem| writeln!(out, "! not read: {problem}"))?;
    write_memory(report, style, out)?;
    if let Some(totals) = &report.totals {
        writeln!(out, "denied on this host: {} packets", totals.denied)?;
        writeln!(
            out,
            "recorded: {} (sampled during a flood), unrecorded: {}, evicted: {}",
            totals.recorded, totals.unrecorded, totals.evicted
        )?;
    }
    Ok(())
}

/// Writes the start of the memory, and its gap.
fn write_memory(report: &Report, style: Style, out: &mut impl Write) -> Result<()> {
    match (report.remembers_since, report.since) {
        (Some(from), Some(since)) if from > since => {
            writeln!(out, "remembers since {}, not for the whole period", style.time(from))?;
        }
        (Some(from), Some(_)) => writeln!(out, "remembers since {}", style.time(from))?,
        (Some(from), None) => writeln!(out, "with --since: remembers since {}", style.time(from))?,
        (None, Some(_)) => writeln!(out, "remembers nothing: no summary yet")?,
        (None, None) => {}
    }
    if report.left_out > 0 {
        writeln!(out, "left out: {} packets of clients with few packets", report.left_out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::report::Totals;
    use super::*;
    use crate::cli::snapshots::{ago, check};

    #[test]
    fn screens_of_denied() {
        let hook = |interface: Option<&str>| if interface.is_some() { "socket" } else { "xdp" };
        let row = |source: &str, endpoint: &str, interface: Option<&str>| DeniedRow {
            source: source.to_owned(),
            sources: 1,
            database_id: Some("6a316183d0f1f10ecbcca123".to_owned()),
            endpoint: endpoint.to_owned(),
            reason: Some("no_match".to_owned()),
            class: Some("syn".to_owned()),
            hook: Some(hook(interface)),
            interface: interface.map(str::to_owned),
            kinds: vec![DeniedKind {
                reason: "no_match".to_owned(),
                class: "syn".to_owned(),
                hook: hook(interface),
                interface: interface.map(str::to_owned),
                packets: 123_456,
            }],
            packets: 123_456,
            first_seen: ago(86_400),
            last_seen: ago(5),
            suggestion: Some(format!("{{id: allow-x, type: custom_range, cidr: '{source}/128'}}")),
        };
        let totals = Totals { denied: 1_234_567, recorded: 1_234_000, unrecorded: 500, evicted: 67 };
        let ipv4 = Report {
            totals: Some(totals),
            since: None,
            remembers_since: Some(ago(5 * 86_400)),
            left_out: 0,
            skipped: Vec::new(),
            denied: vec![row("198.51.100.9", "192.0.2.10:30092/tcp", None)],
        };
        check("denied", |style, out| write_people(&ipv4, style, out));
        let endpoint = "[2001:db8:2:1234:5678:9abc:def0:10]:30092/tcp";
        let rows = vec![row("2001:db8:1234:5678:9abc:def0:1234:5678", endpoint, Some("wg0"))];
        let ipv6 = Report { denied: rows, ..ipv4 };
        check("denied-ipv6", |style, out| write_people(&ipv6, style, out));
        let mut client = row("198.51.100.9", "192.0.2.10:30092/tcp", None);
        let other = DeniedKind { class: "tcp".to_owned(), packets: 44, ..client.kinds[0].clone() };
        client.kinds.push(other);
        let since = Report {
            since: Some(ago(9 * 86_400)),
            left_out: 1_234,
            skipped: vec!["denied/2026-08-20T07.jsonl: torn: its last line has no end".to_owned()],
            denied: vec![client],
            ..ipv6
        };
        check("denied-since", |style, out| write_people(&since, style, out));
    }
}
