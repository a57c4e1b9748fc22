//! What is said of each file.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::rules::{DatabaseRules, ManagedRanges, Problem};

#[derive(Debug)]
pub(super) struct FileReport {
    pub(super) path: PathBuf,
    /// Absent when the file could not be read as what it is.
    pub(super) content: Option<Content>,
    pub(super) errors: Vec<Note>,
    pub(super) warnings: Vec<Note>,
}

#[derive(Debug)]
pub(super) enum Content {
    Database(DatabaseRules),
    Ranges(ManagedRanges),
}

/// A problem within a file, or with the file as a whole.
#[derive(Debug, Serialize)]
pub(super) struct Note {
    line: Option<u64>,
    column: Option<u64>,
    path: Option<String>,
    message: String,
}

impl FileReport {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), content: None, errors: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn refuse(&mut self, message: String) {
        self.errors.push(Note::of_whole(message));
    }

    pub(super) fn warn(&mut self, message: String) {
        self.warnings.push(Note::of_whole(message));
    }

    pub(super) fn is_refused(&self) -> bool {
        !self.errors.is_empty()
    }

    pub(super) fn database(&self) -> Option<&DatabaseRules> {
        match &self.content {
            Some(Content::Database(rules)) => Some(rules),
            Some(Content::Ranges(_)) | None => None,
        }
    }
}

impl Note {
    fn of_whole(message: String) -> Self {
        Self { line: None, column: None, path: None, message }
    }
}

impl From<Problem> for Note {
    fn from(problem: Problem) -> Self {
        let Problem { line, column, path, message } = problem;
        Self { line: Some(line), column: Some(column), path: (!path.is_empty()).then_some(path), message }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "line {line}, column {column}: ")?;
        }
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// One line per error and warning, or one that says what was taken.
pub(super) fn write_lines(files: &[FileReport], out: &mut impl Write) -> io::Result<()> {
    for file in files {
        let path = file.path.display();
        for error in &file.errors {
            writeln!(out, "{path}: {error}")?;
        }
        for warning in &file.warnings {
            writeln!(out, "{path}: warning: {warning}")?;
        }
        if file.is_refused() {
            continue;
        }
        match &file.content {
            Some(Content::Database(rules)) => {
                writeln!(out, "{path}: ok, database {} revision {}", rules.id, rules.revision)?;
            }
            Some(Content::Ranges(ranges)) => {
                writeln!(out, "{path}: ok, managed ranges revision {}", ranges.revision)?
            }
            None => {}
        }
    }
    let refused = files.iter().filter(|file| file.is_refused()).count();
    let files = files.len();
    writeln!(out, "{files} {}, {refused} refused", if files == 1 { "file" } else { "files" })
}

pub(super) fn write_json(files: &[FileReport], out: &mut impl Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Json<'a> {
        accepted: bool,
        files: Vec<File<'a>>,
    }
    #[derive(Serialize)]
    struct File<'a> {
        path: String,
        accepted: bool,
        /// `database`, `ranges`, or null for what could not be read.
        kind: Option<&'static str>,
        database_id: Option<&'a str>,
        revision: Option<u64>,
        errors: &'a [Note],
        warnings: &'a [Note],
    }
    let files: Vec<File<'_>> = files
        .iter()
        .map(|file| {
            let (kind, revision) = match &file.content {
                Some(Content::Database(rules)) => (Some("database"), Some(rules.revision)),
                Some(Content::Ranges(ranges)) => (Some("ranges"), Some(ranges.revision)),
                None => (None, None),
            };
            File {
                path: file.path.display().to_string(),
                accepted: !file.is_refused(),
                kind,
                database_id: file.database().map(|rules| rules.id.as_str()),
                revision,
                errors: &file.errors,
                warnings: &file.warnings,
            }
        })
        .collect();
    serde_json::to_writer_pretty(
        &mut *out,
        &Json { accepted: files.iter().all(|file| file.accepted), files },
    )?;
    writeln!(out)
}
