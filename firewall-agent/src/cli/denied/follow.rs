//! `denied --follow`: denied packets since the start of the command.

use std::collections::BTreeMap;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use super::report::{DeniedKind, DeniedRow, Grouping, kernel_rows};
use super::{Exit, Format, Question, or_dash};
use crate::bpf::Kernel;
use crate::escape::write_json_line;

/// Time between two readings of the kernel's table.
const EVERY: Duration = Duration::from_secs(1);

/// Source, database, endpoint, and the kind without its packets.
type Key = (String, Option<String>, String, Vec<DeniedKind>);

/// Writes a line for each source denied since the last reading, until the reader closes the output.
pub(super) fn follow(
    kernel: &Kernel,
    question: &Question,
    format: Format,
    out: &mut impl Write,
) -> Result<Exit> {
    let read = || -> Result<Vec<DeniedRow>> {
        let grouping = Grouping { by_kind: true, ..question.grouping() };
        kernel_rows(kernel, question.database.as_deref(), grouping)
    };
    let mut before: BTreeMap<Key, u64> = read()?.iter().map(|row| (key(row), row.packets)).collect();
    loop {
        sleep(EVERY);
        let rows = read()?;
        let known = |row: &DeniedRow| before.get(&key(row)).copied().unwrap_or(0);
        // An evicted entry that came back counts from zero.
        let changed = rows.iter().filter(|row| row.packets != known(row)).map(|row| {
            let packets = row.packets.checked_sub(known(row)).unwrap_or(row.packets);
            let kinds = row.kinds.iter().map(|kind| DeniedKind { packets, ..kind.clone() }).collect();
            DeniedRow { packets, kinds, ..row.clone() }
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
    let kinds = row.kinds.iter().map(|kind| DeniedKind { packets: 0, ..kind.clone() }).collect();
    (row.source.clone(), row.database_id.clone(), row.endpoint.clone(), kinds)
}

fn write_people(row: &DeniedRow, out: &mut impl Write) -> Result<()> {
    writeln!(
        out,
        "{:.0}  {} → {}  {}  {} {}  {} packets",
        row.last_seen,
        row.source,
        row.endpoint,
        or_dash(row.database_id.as_ref()),
        row.each(|kind| kind.reason.clone()),
        row.each(|kind| kind.class.clone()),
        row.packets
    )?;
    Ok(())
}
