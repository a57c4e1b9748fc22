//! Errors and warnings at a position of a file.

use std::fmt;

use super::{Cause, Rejection};

/// Message about one position of a file; by itself a warning.
///
/// The message quotes the user's own text as typed, cut to about 80 characters and with control characters escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
    /// Position in the document, as in `rules[0].cidr`; empty for the whole file.
    pub path: String,
    pub message: String,
}

/// One error of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub cause: Cause,
    pub note: Note,
}

/// A correct value, with its file's warnings in file order.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked<T> {
    pub value: T,
    pub warnings: Vec<Note>,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self::new(problem.cause, problem.to_string())
    }
}
