//! `firewall-agent denied [DATABASE] [--follow] [--by N]`: refused sources, and the rule that would admit them.

mod follow;
mod report;

use std::io::Write;

use anyhow::Result;

pub(super) use self::report::{DeniedRow, Report, report};
use super::Exit;
use super::format::Format;
use super::known_databases::KnownDatabases;
use super::settings::Located;
use super::style::Style;
use super::table::{column, or_dash, write_table};
use crate::bpf::Kernel;
use crate::escape::write_json;

/// Selection and aggregation of denied packets.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Question {
    /// Only packets that this database denied
    pub database: Option<String>,
    /// Follow: print one line per source and second with denied packets
    #[arg(short, long, conflicts_with_all = ["by", "by6", "watch"])]
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
    /// Prefix lengths to which sources are cut, IPv4 and IPv6; whole addresses without `--by` and `--by6`.
    fn lengths(&self) -> (u8, u8) {
        match (self.by, self.by6) {
            (None, None) => (32, 128),
            (by, by6) => (by.unwrap_or(32), by6.unwrap_or(64)),
        }
    }
}

pub(super) fn denied(
    directories: &Located,
    mut question: Question,
    style: Style,
    out: &mut impl Write,
) -> Result<Exit> {
    let kernel = Kernel::open(&directories.bpffs_dir)?;
    let live = kernel.live()?;
    if let Some(database) = &mut question.database {
        *database = KnownDatabases::live(&live).find(database)?.to_string();
    }
    if question.follow {
        return follow::follow(&kernel, &question, style.format, out);
    }
    let mut report = report(&kernel, &live, question.database.as_deref(), question.lengths())?;
    report.denied.truncate(question.top);
    match style.format {
        Format::Json => write_json(&report, out)?,
        Format::Table | Format::Wide => write_people(&report, style, out)?,
    }
    Ok(Exit::Done)
}

fn write_people(report: &Report, style: Style, out: &mut impl Write) -> Result<()> {
    let rows = report.denied.iter().map(|one| {
        [
            one.source.clone(),
            one.sources.to_string(),
            one.packets.to_string(),
            or_dash(one.database_id.as_ref()),
            one.endpoint.clone(),
            one.reason.to_owned(),
            one.class.to_owned(),
            one.interface
                .as_ref()
                .map_or_else(|| one.hook.to_owned(), |name| format!("{}: {name}", one.hook)),
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
    let totals = &report.totals;
    writeln!(out, "\ndenied on this host: {} packets", totals.denied)?;
    writeln!(
        out,
        "recorded: {} (sampled during a flood), unrecorded: {}, evicted: {}",
        totals.recorded, totals.unrecorded, totals.evicted
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::report::Totals;
    use super::*;
    use crate::cli::snapshots::{ago, check};

    #[test]
    fn screens_of_denied() {
        let row = |source: &str, endpoint: &str, interface: Option<&str>| DeniedRow {
            source: source.to_owned(),
            sources: 1,
            database_id: Some("6a316183d0f1f10ecbcca123".to_owned()),
            endpoint: endpoint.to_owned(),
            reason: "no_match",
            class: "syn",
            hook: if interface.is_some() { "socket" } else { "xdp" },
            interface: interface.map(str::to_owned),
            packets: 123_456,
            first_seen: ago(86_400),
            last_seen: ago(5),
            suggestion: Some(format!("{{id: allow-x, type: custom_range, cidr: '{source}/128'}}")),
        };
        let totals = Totals { denied: 1_234_567, recorded: 1_234_000, unrecorded: 500, evicted: 67 };
        let ipv4 = Report { totals, denied: vec![row("198.51.100.9", "192.0.2.10:30092/tcp", None)] };
        check("denied", |style, out| write_people(&ipv4, style, out));
        let endpoint = "[2001:db8:2:1234:5678:9abc:def0:10]:30092/tcp";
        let rows = vec![row("2001:db8:1234:5678:9abc:def0:1234:5678", endpoint, Some("wg0"))];
        let ipv6 = Report { denied: rows, ..ipv4 };
        check("denied-ipv6", |style, out| write_people(&ipv6, style, out));
    }
}
