//! `denied --follow`: denied packets since the start of the command.

use std::collections::BTreeMap;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use super::report::{DeniedRow, report};
use super::{Exit, Format, Question, or_dash};
use crate::bpf::Kernel;
use crate::escape::write_json_line;

/// Time between two readings of the kernel's table.
const EVERY: Duration = Duration::from_secs(1);

type Key = (String, Option<String>, String, &'static str, &'static str, Option<String>);

/// Writes a line for each source denied since the last reading, until the reader closes the output.
pub(super) fn follow(
    kernel: &Kernel,
    question: &Question,
    format: Format,
    out: &mut impl Write,
) -> Result<Exit> {
    let read = || -> Result<Vec<DeniedRow>> {
        Ok(report(kernel, &kernel.live()?, question.database.as_deref(), question.lengths())?.denied)
    };
    let mut before: BTreeMap<Key, u64> = read()?.iter().map(|row| (key(row), row.packets)).collect();
    loop {
        sleep(EVERY);
        let rows = read()?;
        let known = |row: &DeniedRow| before.get(&key(row)).copied().unwrap_or(0);
        // An evicted entry that came back counts from zero.
        let changed = rows.iter().filter(|row| row.packets != known(row)).map(|row| {
            let packets = row.packets.checked_sub(known(row)).unwrap_or(row.packets);
            DeniedRow { packets, ..row.clone() }
        });
        for row in changed.take(question.top) {
            match format {
                Format::Json => write_json_line(&row, &mut *out)?,
                Format::Table | Format::Wide => write_people(&row, out)?,
            }
        }
        out.flush()?;
        before = rows.iter().map(|row| (key(row), row.packets)).collect();
    }
}

fn key(row: &DeniedRow) -> Key {
    let endpoint = (row.source.clone(), row.database_id.clone(), row.endpoint.clone());
    (endpoint.0, endpoint.1, endpoint.2, row.reason, row.class, row.interface.clone())
}

fn write_people(row: &DeniedRow, out: &mut impl Write) -> Result<()> {
    writeln!(
        out,
        "{:.0}  {} → {}  {}  {} {}  {} packets",
        row.last_seen,
        row.source,
        row.endpoint,
        or_dash(row.database_id.as_ref()),
        row.reason,
        row.class,
        row.packets
    )?;
    Ok(())
}
