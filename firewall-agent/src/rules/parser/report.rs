//! Collector of the problems of a file.

use super::tree::Position;
use crate::rules::{Cause, Checked, Note, Problem};

/// Most errors, and most warnings, reported per file; further ones are only counted.
const MOST: usize = 1000;

#[derive(Debug, Default)]
pub(crate) struct Report {
    errors: Bounded<Problem>,
    warnings: Bounded<Note>,
}

impl Report {
    pub(crate) fn refuse(&mut self, position: Position, path: impl Into<String>, message: impl Into<String>) {
        self.refuse_as(Cause::Invalid, position, path, message);
    }

    pub(crate) fn refuse_as(
        &mut self,
        cause: Cause,
        position: Position,
        path: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.errors.add(Problem { cause, note: note(position, path, message) });
    }

    pub(crate) fn warn(&mut self, position: Position, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.add(note(position, path, message));
    }

    /// `value` may be absent only after an error was reported.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<Checked<T>, Vec<Problem>> {
        match value {
            Some(value) if self.errors.listed.is_empty() => {
                Ok(Checked { value, warnings: self.warnings.in_file_order() })
            }
            _ => Err(self.errors.in_file_order()),
        }
    }
}

fn note(position: Position, path: impl Into<String>, message: impl Into<String>) -> Note {
    Note { line: position.line, column: position.column, path: path.into(), message: message.into() }
}

/// Up to [`MOST`] entries, and the number of further ones.
#[derive(Debug)]
struct Bounded<T> {
    listed: Vec<T>,
    more: usize,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self { listed: Vec::new(), more: 0 }
    }
}

impl<T: HasNote + Clone> Bounded<T> {
    fn add(&mut self, one: T) {
        if self.listed.len() < MOST {
            self.listed.push(one);
        } else {
            self.more += 1;
        }
    }

    fn in_file_order(mut self) -> Vec<T> {
        self.listed.sort_by_key(|one| (one.note().line, one.note().column));
        if let (Some(last), true) = (self.listed.last(), self.more > 0) {
            let mut rest = last.clone();
            let Note { path, message, .. } = rest.note_mut();
            path.clear();
            *message = format!("and {} more", self.more);
            self.listed.push(rest);
        }
        self.listed
    }
}

trait HasNote {
    fn note(&self) -> &Note;
    fn note_mut(&mut self) -> &mut Note;
}

impl HasNote for Note {
    fn note(&self) -> &Note {
        self
    }

    fn note_mut(&mut self) -> &mut Note {
        self
    }
}

impl HasNote for Problem {
    fn note(&self) -> &Note {
        &self.note
    }

    fn note_mut(&mut self) -> &mut Note {
        &mut self.note
    }
}
