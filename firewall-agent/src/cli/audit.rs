//! `firewall-agent audit`: bypasses, which the attached programs do not see.

mod facts;
mod report;

use std::io::Write;

use anyhow::Result;

use self::facts::collect;
use self::report::{Report, write_people};
use super::Exit;
use super::format::Format;
use super::seen_at_sockets::SeenByInterface;
use super::settings::Located;
use super::status::read_status_file;
use crate::audit::{Kind, audit};
use crate::bpf::Kernel;
use crate::escape::write_json;

/// Reports `accepted` kinds, but ignores them for the exit code.
pub(super) fn run(
    directories: &Located,
    accepted: &[Kind],
    format: Format,
    out: &mut impl Write,
) -> Result<Exit> {
    let kernel = Kernel::open(&directories.bpffs_dir)?;
    let facts = collect(&kernel, &directories.bpffs_dir)?;
    // Without a status nothing is known about the socket filter.
    let socket_filter = read_status_file(directories).ok().and_then(|status| status.socket_filter);
    let mut report = Report::new(audit(&facts), accepted, facts.protected.is_empty(), socket_filter);
    report.add_seen(&SeenByInterface::read(&kernel)?);
    match format {
        Format::Json => write_json(&report, out)?,
        Format::Table | Format::Wide => write_people(&report, out)?,
    }
    Ok(if !report.unchecked.is_empty() {
        Exit::Failed
    } else if report.findings.iter().any(|finding| !finding.accepted) {
        Exit::BypassesFound
    } else {
        Exit::Done
    })
}
