//! Columns for people.

use std::io::Write;

use anyhow::Result;
use tabwriter::TabWriter;

/// Writes rows of equal length under a head, columns two spaces apart.
pub(super) fn write_table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    out: &mut impl Write,
) -> Result<()> {
    let mut table = TabWriter::new(out).padding(2);
    writeln!(table, "{}", head.join("\t"))?;
    for row in rows {
        writeln!(table, "{}", row.join("\t"))?;
    }
    table.flush()?;
    Ok(())
}

/// A value that may not be there.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
