//! The files that a command is given: each read, with all that is wrong with it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::files::read::{ReadError, read_file, read_rule_file, read_signature, yaml_files};
use crate::rules::{
    Checked, DatabaseRules, Limits, ManagedRanges, Problem, TrustedKey, check_signature, is_ranges_file,
    read_database, read_ranges,
};

/// A file, or a directory that holds none.
#[derive(Debug)]
pub(super) struct FileReport {
    pub path: PathBuf,
    /// Absent when the file could not be read as what it is.
    pub content: Option<Content>,
    pub errors: Vec<Note>,
    pub warnings: Vec<Note>,
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

/// Reads the files of `paths`, each once.
///
/// A directory stands for its rule files. A file that is named itself and has a top-level `ranges` field is read as
/// managed ranges.
pub(super) fn read_paths(paths: &[PathBuf], limits: &Limits, keys: &[TrustedKey]) -> Vec<FileReport> {
    let mut files: Vec<FileReport> = Vec::new();
    for path in paths {
        let reports = if path.is_dir() {
            read_dir(path, |file| read_rules(file, limits, keys))
        } else {
            vec![read(path, limits, keys)]
        };
        for report in reports {
            if !files.iter().any(|known| known.path == report.path) {
                files.push(report);
            }
        }
    }
    files
}

/// Reads the files that the daemon looks at; that there are no managed ranges is no error.
pub(super) fn read_configured(
    rules_dir: &Path,
    managed_ranges: &Path,
    limits: &Limits,
    keys: &[TrustedKey],
) -> Vec<FileReport> {
    let mut files = read_dir(rules_dir, |file| read_rules(file, limits, keys));
    // As the daemon: what cannot be looked at is not absent.
    if !matches!(managed_ranges.try_exists(), Ok(false)) {
        let ranges = |bytes: &[u8], report: &mut _| take(report, read_ranges(bytes), Content::Ranges);
        files.push(read_as(managed_ranges, read_file(managed_ranges), keys, ranges));
    }
    files
}

fn read_dir(path: &Path, read: impl Fn(&Path) -> FileReport) -> Vec<FileReport> {
    let mut dir = FileReport::new(path);
    match yaml_files(path) {
        Ok(files) if files.is_empty() => dir.warn("directory holds no rule file".to_owned()),
        Ok(files) => return files.iter().map(|file| read(file)).collect(),
        Err(error) => dir.refuse(format!("cannot be listed: {error}")),
    }
    vec![dir]
}

fn read_rules(path: &Path, limits: &Limits, keys: &[TrustedKey]) -> FileReport {
    read_as(path, read_rule_file(path), keys, |bytes, report| {
        take(report, read_database(bytes, limits), Content::Database);
    })
}

fn read(path: &Path, limits: &Limits, keys: &[TrustedKey]) -> FileReport {
    read_as(path, read_file(path), keys, |bytes, report| {
        if is_ranges_file(bytes) {
            take(report, read_ranges(bytes), Content::Ranges);
        } else {
            take(report, read_database(bytes, limits), Content::Database);
        }
    })
}

fn read_as(
    path: &Path,
    content: Result<Vec<u8>, ReadError>,
    keys: &[TrustedKey],
    take: impl FnOnce(&[u8], &mut FileReport),
) -> FileReport {
    let mut report = FileReport::new(path);
    match content {
        Err(error) => report.refuse(error.to_string()),
        Ok(bytes) => match check(path, &bytes, keys) {
            Err(why) => report.refuse(why),
            Ok(()) => take(&bytes, &mut report),
        },
    }
    report
}

/// As the daemon does: what nobody trusted signed is not read any further.
fn check(path: &Path, bytes: &[u8], keys: &[TrustedKey]) -> Result<(), String> {
    let signature = if keys.is_empty() { None } else { read_signature(path)? };
    check_signature(keys, bytes, signature.as_deref())
}

fn take<T>(
    report: &mut FileReport,
    read: Result<Checked<T>, Vec<Problem>>,
    content: impl FnOnce(T) -> Content,
) {
    match read {
        Ok(checked) => {
            report.content = Some(content(checked.value));
            report.warnings.extend(checked.warnings.into_iter().map(Into::into));
        }
        Err(problems) => report.errors.extend(problems.into_iter().map(Into::into)),
    }
}

impl FileReport {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), content: None, errors: Vec::new(), warnings: Vec::new() }
    }

    pub fn refuse(&mut self, message: String) {
        self.errors.push(Note::of_whole(message));
    }

    pub fn warn(&mut self, message: String) {
        self.warnings.push(Note::of_whole(message));
    }

    pub fn is_refused(&self) -> bool {
        !self.errors.is_empty()
    }

    pub fn database(&self) -> Option<&DatabaseRules> {
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
