//! What is wrong, or worth a warning, at one place of a file.

use std::fmt;

/// One error or warning of a file.
///
/// The message quotes the user's own text as typed, cut to about 80 characters and with control characters escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
    /// Place in the document, as in `rules[0].cidr`; empty when the whole file is meant.
    pub path: String,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// A value that is right, with what its file should be warned about, in file order.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked<T> {
    pub value: T,
    pub warnings: Vec<Problem>,
}
