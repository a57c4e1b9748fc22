//! Collects what is wrong with a file.

use super::tree::Place;
use crate::rules::{Checked, Problem};

/// Most errors, and most warnings, that one file is told; beyond it they are only counted.
const MOST: usize = 1000;

#[derive(Debug, Default)]
pub(crate) struct Report {
    errors: Notes,
    warnings: Notes,
}

impl Report {
    pub(crate) fn refuse(&mut self, place: Place, path: impl Into<String>, message: impl Into<String>) {
        self.errors.add(place, path.into(), message.into());
    }

    pub(crate) fn warn(&mut self, place: Place, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.add(place, path.into(), message.into());
    }

    /// `value` may be absent only after an error was reported.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<Checked<T>, Vec<Problem>> {
        match value {
            Some(value) if self.errors.kept.is_empty() => {
                Ok(Checked { value, warnings: self.warnings.in_file_order() })
            }
            _ => Err(self.errors.in_file_order()),
        }
    }
}

#[derive(Debug, Default)]
struct Notes {
    kept: Vec<Problem>,
    more: usize,
}

impl Notes {
    fn add(&mut self, place: Place, path: String, message: String) {
        if self.kept.len() < MOST {
            self.kept.push(Problem { line: place.line, column: place.column, path, message });
        } else {
            self.more += 1;
        }
    }

    fn in_file_order(mut self) -> Vec<Problem> {
        self.kept.sort_by_key(|problem| (problem.line, problem.column));
        if let (Some(last), true) = (self.kept.last(), self.more > 0) {
            let message = format!("and {} more", self.more);
            self.kept.push(Problem { line: last.line, column: last.column, path: String::new(), message });
        }
        self.kept
    }
}
