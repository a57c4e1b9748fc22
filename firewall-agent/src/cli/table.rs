//! Tables for people. A cell is never broken: where a terminal is too narrow, the least important columns are left out.

use std::io::Write;

use anyhow::Result;
use unicode_width::UnicodeWidthStr;

use super::style::Style;
use crate::escape::escaped;

/// Spaces between columns.
const GAP: usize = 2;
/// Least width of a column of text that is cut, unless a word needs more.
const SHORTEST: usize = 16;
/// Columns behind the last word of a cut text.
const CUT: usize = 2;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub head: &'static str,
    /// 0 for a column that is never left out; the lower the rank of another, the earlier it gets room.
    rank: u8,
    /// Free text, which may be cut.
    is_text: bool,
}

/// A column with ids, addresses, times, numbers or words, which are whole or absent.
pub(super) const fn column(head: &'static str, rank: u8) -> Column {
    Column { head, rank, is_text: false }
}

/// A column with free text, which is cut where it is too long.
pub(super) const fn text(head: &'static str, rank: u8) -> Column {
    Column { head, rank, is_text: true }
}

/// Columns that fit a screen.
#[derive(Debug)]
pub(super) struct Fitted {
    /// Index and width of each, in their order.
    pub columns: Vec<(usize, usize)>,
    /// Heads of the others.
    left_out: Vec<&'static str>,
    is_cut: bool,
}

impl Fitted {
    /// Fits the columns of these rows into `limit`, with `gap` spaces between them.
    pub fn new<const N: usize>(
        columns: &[Column; N],
        rows: &[[String; N]],
        (limit, gap): (Option<usize>, usize),
    ) -> Self {
        let longest = |at: usize| rows.iter().map(|row| row[at].width()).max().unwrap_or(0);
        let whole: [usize; N] = std::array::from_fn(|at| longest(at).max(columns[at].head.width()));
        let Some(limit) = limit else {
            let columns = (0..N).map(|at| (at, whole[at])).collect();
            return Self { columns, left_out: Vec::new(), is_cut: false };
        };
        let longest_word = |at: usize| {
            let words = rows.iter().flat_map(|row| row[at].split(' '));
            words.map(UnicodeWidthStr::width).max().unwrap_or(0)
        };
        let mut widths: [usize; N] = std::array::from_fn(|at| match columns[at] {
            Column { is_text: true, .. } => whole[at].min(SHORTEST.max(longest_word(at) + CUT)),
            Column { is_text: false, .. } => whole[at],
        });
        let mut by_rank: Vec<usize> = (0..N).collect();
        by_rank.sort_by_key(|at| columns[*at].rank);
        // The gap of the last column is not written.
        let mut spare = limit + gap;
        by_rank.retain(|at| {
            let rest = spare.checked_sub(widths[*at] + gap);
            let is_chosen = rest.is_some() || columns[*at].rank == 0;
            spare = if is_chosen { rest.unwrap_or(0) } else { spare };
            is_chosen
        });
        for at in &by_rank {
            let more = spare.min(whole[*at] - widths[*at]);
            (widths[*at], spare) = (widths[*at] + more, spare - more);
        }
        let (chosen, left_out): (Vec<usize>, Vec<usize>) = (0..N).partition(|at| by_rank.contains(at));
        let left_out = left_out.into_iter().map(|at| columns[at].head).collect();
        let is_cut = chosen.iter().any(|at| widths[*at] < whole[*at]);
        Self { columns: chosen.into_iter().map(|at| (at, widths[at])).collect(), left_out, is_cut }
    }

    /// Names the missing parts; `None` if nothing is missing.
    fn missing(&self, limit: Option<usize>) -> Option<String> {
        let named = match self.left_out.as_slice() {
            [] if self.is_cut => return Some("some texts are cut; -o wide has them whole".to_owned()),
            [] => return None,
            heads => format!("left out: {}; -o wide has all columns", heads.join(", ")),
        };
        let number = || format!("{} columns left out; -o wide has all", self.left_out.len());
        Some(if limit.is_some_and(|limit| named.width() > limit) { number() } else { named })
    }
}

/// Writes rows under a head, each on one line, and names the columns that the terminal had no room for.
pub(super) fn write_table<const N: usize>(
    columns: [Column; N],
    rows: impl IntoIterator<Item = [String; N]>,
    style: Style,
    out: &mut impl Write,
) -> Result<()> {
    let rows = rows.into_iter().map(|row| row.map(|cell| escaped(&cell).into_owned()));
    let rows: Vec<[String; N]> = rows.collect();
    let fitted = Fitted::new(&columns, &rows, (style.width, GAP));
    let head = columns.map(|column| column.head.to_owned());
    for row in [&head].into_iter().chain(&rows) {
        let mut line = String::new();
        for (at, width) in &fitted.columns {
            let cell = cut(&row[*at], *width);
            line.push_str(&cell);
            line.push_str(&" ".repeat(width + GAP - cell.width()));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    if let Some(missing) = fitted.missing(style.width) {
        writeln!(out, "{missing}")?;
    }
    Ok(())
}

/// Cuts a text to this width, between words; a cut one ends with `…`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    for word in text.split_inclusive(' ') {
        if cut.width() + word.width() + 1 > width {
            break;
        }
        cut.push_str(word);
    }
    format!("{cut}…")
}

/// Formats an optional value.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The first items of a list: all of them without a terminal's width.
pub(super) fn first_of(items: &[String], style: Style) -> String {
    match items {
        [] => "-".to_owned(),
        [first, others @ ..] if !others.is_empty() && style.width.is_some() => {
            format!("{first} (and {} more)", others.len())
        }
        all => all.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::cli::format::Format;

    const ID: &str = "6a316183d0f1f10ecbcca123";

    fn style(width: Option<usize>) -> Style {
        Style { format: Format::Table, width, absolute: false, now: Timestamp::UNIX_EPOCH }
    }

    fn table(width: Option<usize>, rows: &[[&str; 4]]) -> String {
        let mut out = Vec::new();
        let rows = rows.iter().map(|row| row.map(str::to_owned));
        let columns = [column("ID", 0), text("LABEL", 1), column("ADDRESS", 2), column("N", 3)];
        write_table(columns, rows, style(width), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_leave_by_rank_and_no_cell_is_broken() {
        let label = "a label that goes on and on";
        let rows = [[ID, label, "2001:db8:1234:5678::/64", "1"], ["x", "y", "-", "22"]];
        for (width, whole, cut, missing) in [
            (None, &[ID, label, "/64", "22"][..], "", ""),
            (Some(84), &[ID, label, "/64", "22"], "", ""),
            (Some(80), &[ID, "/64", "22"], "a label that goes on …", "some texts are cut"),
            (Some(70), &[ID, "2001:db8:1234:5678::/64"], "a label that goes …", "left out: N; -o wide"),
            (Some(50), &[ID, "22"], "a label that goes …", "left out: ADDRESS; -o wide"),
            (Some(40), &[ID, "22"], "", "2 columns left out"),
            (Some(10), &[ID], "", "3 columns left out"),
        ] {
            let text = table(width, &rows);
            for word in whole.iter().chain(&[cut, missing]) {
                assert!(text.contains(word), "{width:?}: {word}:\n{text}");
            }
            let limit = width.filter(|width| *width >= 40).unwrap_or(usize::MAX);
            assert!(text.lines().all(|line| line.width() <= limit), "{width:?}:\n{text}");
            assert_eq!(text.lines().count(), 3 + usize::from(!missing.is_empty()), "{text}");
        }
    }

    #[test]
    fn wide_and_hostile_characters_do_not_break_columns() {
        let text = table(Some(80), &[["日本", "a\tb\u{1b}[2Jc\n", "-", "1"], ["x", "y", "-", "2"]]);
        let expected = "ID    LABEL                     ADDRESS  N\n\
                        日本  a\\u0009b\\u001b[2Jc\\u000a  -        1\n\
                        x     y                         -        2\n";
        assert_eq!(text, expected);
        assert_eq!(cut("日本 語です", 10), "日本 …");
        assert_eq!(cut("日本 語です", 11), "日本 語です");
    }

    #[test]
    fn a_list_is_whole_without_a_terminal() {
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(first_of(&items, style(None)), "a, b, c");
        assert_eq!(first_of(&items, style(Some(80))), "a (and 2 more)");
        assert_eq!(first_of(&items[..1], style(Some(80))), "a");
        assert_eq!(first_of(&[], style(None)), "-");
    }
}
