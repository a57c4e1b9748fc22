//! Tables for people.

use std::io::{self, IsTerminal as _, Write};

use anyhow::Result;
use comfy_table::ColumnConstraint::{Absolute, LowerBoundary};
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table, Width};
use jiff::Timestamp;
use unicode_width::UnicodeWidthStr as _;

use crate::escape::escaped;

/// Spaces between columns.
const GAP: u16 = 2;
/// Longest word to remain unbroken if possible: the provider's ids have 24 characters.
const LONGEST_WORD: u16 = 24;
/// Longest cell that is not wrapped.
const WIDEST: u16 = u16::MAX - 2 * GAP;
/// Rows laid out at once: bounds the memory for long lists. A longer table is not wrapped.
const PART: usize = 4096;

/// Writes rows of equal length under a head. On a terminal that is too narrow, wraps long cells; elsewhere every row is
/// one line, which people pipe through awk.
pub(super) fn write_table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    out: &mut impl Write,
) -> Result<()> {
    write_within(terminal_width(), head, rows, out)
}

/// Columns of the terminal on standard output; `None` if it is not a terminal.
fn terminal_width() -> Option<u16> {
    if !io::stdout().is_terminal() {
        return None;
    }
    ratatui::crossterm::terminal::size().ok().map(|(columns, _)| columns).filter(|width| *width > 0)
}

fn write_within<const N: usize>(
    limit: Option<u16>,
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    out: &mut impl Write,
) -> Result<()> {
    let rows = rows.into_iter().map(|row| row.map(|cell| escaped(&cell).into_owned()));
    let rows: Vec<[String; N]> = [head.map(str::to_owned)].into_iter().chain(rows).collect();
    let limit = limit.filter(|_| rows.len() <= PART);
    let constraints = match limit {
        None => Some(widths(&rows, width).map(|width| Absolute(Width::Fixed(width)))),
        Some(limit) => {
            let word = |cell: &str| cell.split(' ').map(width).max().unwrap_or(0).min(LONGEST_WORD);
            // Words stay whole if all fit, else those of the head if these fit.
            let floors = [&rows[..], &rows[..1]].map(|rows| widths(rows, word));
            let floors = floors.into_iter().find(|floors| floors.iter().sum::<u16>() <= limit + GAP);
            floors.map(|floors| floors.map(|floor| LowerBoundary(Width::Fixed(floor))))
        }
    };
    for part in rows.chunks(PART) {
        let mut table = Table::new();
        table.load_style(NOTHING).add_rows(part);
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        if let Some(limit) = limit {
            // The gap of the last column is not written.
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(limit + GAP);
        }
        if let Some(constraints) = constraints {
            table.set_constraints(constraints);
        }
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    Ok(())
}

/// Widths of the columns, the gap included, from the width of a cell.
fn widths<const N: usize>(rows: &[[String; N]], cell: impl Fn(&str) -> u16) -> [u16; N] {
    std::array::from_fn(|column| rows.iter().map(|row| cell(&row[column])).max().unwrap_or(0) + GAP)
}

/// Columns of a terminal that the text takes, at most [`WIDEST`].
fn width(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(WIDEST).min(WIDEST)
}

/// Formats a time to the second; on a narrow screen the date wraps above the time.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Formats an optional value.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(limit: Option<u16>, rows: &[[&str; 3]]) -> String {
        let mut out = Vec::new();
        let rows = rows.iter().map(|row| row.map(str::to_owned));
        write_within(limit, ["ID", "LABEL", "N"], rows, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn pipe_gets_a_line_per_row_and_terminal_gets_lines_that_fit() {
        let long =
            "a label that goes on and on, and on, until it is too long for any terminal, and then some";
        let rows = [["orders", long, "1"], ["x", "kurz", "22"]];
        assert_eq!(table(None, &rows).lines().count(), 3);
        for limit in [24, 40, 80] {
            let text = table(Some(limit), &rows);
            assert!(text.lines().all(|line| line.width() <= usize::from(limit)), "{limit}:\n{text}");
            let words: Vec<&str> = text.split_whitespace().collect();
            assert!(
                long.split_whitespace().all(|word| words.contains(&word)),
                "{limit}: nothing is lost:\n{text}"
            );
        }
    }

    #[test]
    fn a_long_list_has_the_same_columns_throughout() {
        let rows: Vec<[String; 3]> =
            (0..2 * PART).map(|n| [n.to_string(), "é".repeat(n % 50), n.to_string()]).collect();
        let mut out = Vec::new();
        write_within(Some(20), ["ID", "LABEL", "N"], rows, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 2 * PART + 1);
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(fields.first(), fields.last());
            let last = line.rsplit(' ').next().unwrap();
            assert_eq!(line.width() - last.len(), "8191  ".len() + 49 + 2, "{line}");
        }
    }

    #[test]
    fn ids_are_not_broken_when_all_columns_fit() {
        let id = "6a316183d0f1f10ecbcca123";
        let rows = [[id, "2001:db8:1234:5678::/64 and some others, which are not shown here", "1"]];
        assert!(table(Some(60), &rows).contains(id));
        // Control: a terminal that is too narrow for them.
        assert!(!table(Some(30), &rows).contains(id));
    }

    #[test]
    fn wide_and_hostile_characters_do_not_break_columns() {
        let text = table(Some(80), &[["日本", "a\tb\u{1b}[2Jc\n", "1"], ["x", "y", "2"]]);
        assert_eq!(
            text,
            "ID    LABEL                     N\n日本  a\\u0009b\\u001b[2Jc\\u000a  1\nx     y                         2\n"
        );
    }
}
