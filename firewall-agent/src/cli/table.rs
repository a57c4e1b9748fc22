//! Tables for people.

use std::io::{self, IsTerminal as _, Write};

use anyhow::Result;
use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::escape::escaped;

/// Spaces between columns.
const GAP: usize = 2;
/// Least width of a column.
const NARROWEST: usize = 6;
/// Longest word to remain unbroken if possible: the provider's ids have 24 characters.
const WHOLE: usize = 24;
/// Characters after which a cell is wrapped.
const BREAKS: [char; 3] = [' ', ',', '/'];

/// Writes rows of equal length under a head. On a terminal that is too narrow, wraps long cells, widest columns first;
/// elsewhere every row is one line.
pub(super) fn write_table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    out: &mut impl Write,
) -> Result<()> {
    write_within(terminal_width(), head, rows, out)
}

/// Columns of the terminal on standard output; `None` if it is not a terminal.
fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    ratatui::crossterm::terminal::size()
        .ok()
        .map(|(columns, _)| usize::from(columns))
        .filter(|width| *width > 0)
}

fn write_within<const N: usize>(
    limit: Option<usize>,
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    out: &mut impl Write,
) -> Result<()> {
    let rows: Vec<[String; N]> =
        rows.into_iter().map(|row| row.map(|cell| escaped(&cell).into_owned())).collect();
    let widest = |column: usize| {
        let cells = rows.iter().map(|row| row[column].width());
        cells.chain([head[column].width()]).max().unwrap_or(0)
    };
    let mut widths: [usize; N] = std::array::from_fn(widest);
    if let Some(limit) = limit {
        let floor = |column: usize| {
            let words =
                rows.iter().flat_map(|row| row[column].split(BREAKS)).map(|word| word.width().min(WHOLE));
            words.chain([head[column].width(), NARROWEST]).max().unwrap_or(0)
        };
        // Words stay whole as long as possible, then heads.
        narrow(&mut widths, &std::array::from_fn::<usize, N, _>(floor), limit);
        narrow(&mut widths, &head.map(|name| name.width().max(NARROWEST)), limit);
        narrow(&mut widths, &[NARROWEST; N], limit);
    }
    for row in [&head.map(str::to_owned)].into_iter().chain(&rows) {
        let cells: [Vec<String>; N] = std::array::from_fn(|column| wrapped(&row[column], widths[column]));
        let height = cells.iter().map(Vec::len).max().unwrap_or(1);
        for number in 0..height {
            let cell = |column: usize| cells[column].get(number).map_or("", String::as_str);
            let text: String = (0..N).map(|column| padded(cell(column), widths[column] + GAP)).collect();
            writeln!(out, "{}", text.trim_end())?;
        }
    }
    Ok(())
}

/// Narrows the widest column until all fit, down to the `floors`.
fn narrow(widths: &mut [usize], floors: &[usize], limit: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > limit {
        let widest = widths
            .iter_mut()
            .zip(floors)
            .filter(|(width, floor)| **width > **floor)
            .max_by_key(|(width, _)| **width);
        match widest {
            Some((width, _)) => *width -= 1,
            None => return,
        }
    }
}

/// Splits a cell into lines of at most `width`, after a space, comma or slash if there is one in the second half.
fn wrapped(cell: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = cell;
    while rest.width() > width.max(1) {
        let mut taken = 0;
        let fits = rest.char_indices().find(|(_, c)| {
            taken += c.width().unwrap_or(0);
            taken > width
        });
        let end = fits.map_or(rest.len(), |(at, _)| at).max(rest.chars().next().map_or(1, char::len_utf8));
        let nice = rest[..end].rfind(BREAKS).map(|at| at + 1).filter(|at| *at > end / 2);
        let (line, more) = rest.split_at(nice.unwrap_or(end));
        lines.push(line.trim_end().to_owned());
        rest = more;
    }
    lines.push(rest.to_owned());
    lines
}

fn padded(cell: &str, width: usize) -> String {
    format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
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

    fn table(limit: Option<usize>, rows: &[[&str; 3]]) -> String {
        let mut out = Vec::new();
        let rows = rows.iter().map(|row| row.map(str::to_owned));
        write_within(limit, ["ID", "LABEL", "N"], rows, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_pipe_gets_one_line_for_each_row_and_a_terminal_lines_that_fit() {
        let long =
            "a label that goes on and on, and on, until it is too long for any terminal, and then some";
        let rows = [["orders", long, "1"], ["x", "kurz", "22"]];
        assert_eq!(table(None, &rows).lines().count(), 3);
        for limit in [24, 40, 80] {
            let text = table(Some(limit), &rows);
            assert!(text.lines().all(|line| line.width() <= limit), "{limit}:\n{text}");
            let words: Vec<&str> = text.split_whitespace().collect();
            assert!(
                long.split_whitespace().all(|word| words.contains(&word)),
                "{limit}: nothing is lost:\n{text}"
            );
        }
    }

    #[test]
    fn wide_and_hostile_characters_keep_the_columns() {
        let text = table(Some(80), &[["日本", "a\tb\u{1b}[2Jc\n", "1"], ["x", "y", "2"]]);
        assert_eq!(
            text,
            "ID    LABEL                     N\n日本  a\\u0009b\\u001b[2Jc\\u000a  1\nx     y                         2\n"
        );
    }
}
