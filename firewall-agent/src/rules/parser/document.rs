//! Parser from bytes to one complete document.

use super::tree::{Node, Position, parse};
use super::{Fields, Item, Report};
use crate::escape::is_forbidden;
use crate::rules::{Cause, Checked, MAX_FILE_BYTES, Note, Problem};

/// Requirement of the closing `...` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// For pushed files: without the line, the file counts as truncated.
    Marked,
    /// For files written by hand: the line is optional.
    Free,
}

/// The only document of a file, well-formed and complete.
#[derive(Debug)]
pub(crate) struct Document<'t> {
    root: Node<'t>,
}

impl<'t> Document<'t> {
    /// # Errors
    /// The first reason why the bytes are not a complete document of the accepted YAML subset.
    pub(crate) fn parse(bytes: &'t [u8], ending: Ending) -> Result<Self, Problem> {
        if bytes.len() > MAX_FILE_BYTES {
            let message = format!("file of {} bytes: at most {MAX_FILE_BYTES} are read", bytes.len());
            return Err(problem(Cause::TooLarge, Position::START, message));
        }
        let text = str::from_utf8(bytes).map_err(|error| {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            problem(Cause::Invalid, end_of(&valid), "file is not UTF-8 from here on".to_owned())
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if let Some((at, c)) =
            text.char_indices().find(|(_, c)| is_forbidden(*c) && !matches!(c, '\n' | '\r' | '\t'))
        {
            let message =
                format!("character U+{:04X}: control and direction characters are not allowed", u32::from(c));
            return Err(problem(Cause::Invalid, end_of(&text[..at]), message));
        }
        if ending == Ending::Marked && !is_complete(text) {
            let message =
                "file is incomplete: its last line must be `...` alone, without a comment on or after it";
            return Err(problem(Cause::Incomplete, end_of(text.trim_end()), message.to_owned()));
        }
        parse(text).map(|root| Self { root })
    }

    /// Parses, calls `read` on the top level, and returns its value if no error was reported.
    pub(crate) fn read<T>(
        bytes: &[u8],
        ending: Ending,
        read: impl FnOnce(Item<'_, '_>, &mut Report) -> Option<T>,
    ) -> Result<Checked<T>, Vec<Problem>> {
        let document = Document::parse(bytes, ending).map_err(|problem| vec![problem])?;
        let mut report = Report::default();
        let value = read(document.top(), &mut report);
        report.finish(value)
    }

    /// Returns `true` if the top level is a map with a field of this name.
    pub(crate) fn has_field(&self, name: &str) -> bool {
        Fields::named(&self.top(), &[name], &mut Report::default())
            .is_some_and(|top| top.optional(name).is_some())
    }

    fn top(&self) -> Item<'_, 't> {
        Item::new(String::new(), &self.root)
    }
}

/// Returns `true` if the last non-blank line is the end-of-document marker.
///
/// At column 1 `...` ends a document even inside a quoted scalar: no part of a valid file ends with it.
fn is_complete(text: &str) -> bool {
    let text = text.trim_end_matches([' ', '\t', '\r', '\n']);
    text == "..." || text.ends_with("\n...")
}

fn problem(cause: Cause, position: Position, message: String) -> Problem {
    Problem {
        cause,
        note: Note { line: position.line, column: position.column, path: String::new(), message },
    }
}

/// Position just after `text`.
fn end_of(text: &str) -> Position {
    let line = text.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = text.chars().rev().take_while(|c| *c != '\n').count() + 1;
    Position { line: line as u64, column: column as u64 }
}
