//! Result of reading one pushed file: its content, or all its errors. `run`, `plan` and `validate` read files only
//! through this module.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::files::scan::{ScanRequest, ScannedFile, ScannedFiles};
use crate::files::signature_verifier::SignatureVerifier;
use crate::rules::{
    self, Cause, Checked, DatabaseRules, Limits, ManagedRanges, Problem, RangesKind, Rejection,
    is_ranges_file, read_database, read_ranges,
};
use crate::sync::{Candidate, FileBytes, StoredFile};

/// A file, or a directory without rule files.
#[derive(Debug)]
pub struct FileReport {
    pub path: PathBuf,
    /// Time at which the content became visible; `None` for a directory.
    pub visible_at: Option<Timestamp>,
    /// `None` when the file is not readable as its kind.
    pub content: Option<Content>,
    pub bytes: FileBytes,
    pub errors: Vec<FileError>,
    pub warnings: Vec<Note>,
}

/// Content of a valid file.
#[derive(Debug)]
pub enum Content {
    Database(DatabaseRules),
    Ranges(RangesKind, ManagedRanges),
}

/// An error of a file. Field names are an interface.
#[derive(Debug, Clone, Serialize)]
pub struct FileError {
    #[serde(flatten)]
    note: Note,
    cause: Cause,
}

/// A message about one position in a file, or about the whole file. Field names are an interface.
#[derive(Debug, Clone, Serialize)]
pub struct Note {
    pub line: Option<u64>,
    pub column: Option<u64>,
    pub path: Option<String>,
    pub message: String,
}

/// Kind of content that a file must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Database,
    Ranges(RangesKind),
    /// Ranges of this kind where the top level has a field `ranges`.
    Either(RangesKind),
}

/// Paths of the files of ranges; empty for none.
#[derive(Debug, Clone, Copy)]
pub struct RangesPaths<'a> {
    pub managed: &'a Path,
    pub blocked: &'a Path,
}

impl RangesPaths<'_> {
    fn none() -> RangesPaths<'static> {
        RangesPaths { managed: Path::new(""), blocked: Path::new("") }
    }
}

/// Parses every file of a snapshot.
#[must_use]
pub fn parse(snapshot: &ScannedFiles, ranges: RangesPaths<'_>, limits: &Limits) -> Vec<FileReport> {
    let rules =
        snapshot.rules.iter().map(|(path, seen)| FileReport::parse(path, seen, Kind::Database, limits));
    let managed = snapshot.ranges.iter().map(|seen| (RangesKind::Managed, ranges.managed, seen));
    let blocked = snapshot.blocked.iter().map(|seen| (RangesKind::Blocked, ranges.blocked, seen));
    let ranges = managed.chain(blocked);
    rules
        .chain(ranges.map(|(kind, path, seen)| FileReport::parse(path, seen, Kind::Ranges(kind), limits)))
        .collect()
}

/// Reads and parses the files of `paths`, each once, within the bounds of `request`.
///
/// A directory means its rule files. An explicitly named file with a top-level field `ranges` is read as blocked ranges
/// if it has the name of the configured ones, and as managed ranges otherwise.
#[must_use]
pub fn read_paths(
    paths: &[PathBuf],
    request: &ScanRequest<'_>,
    limits: &Limits,
    verifier: &mut SignatureVerifier,
) -> Vec<FileReport> {
    let (mut files, mut known) = (Vec::new(), BTreeSet::new());
    for path in paths {
        let reports = if path.is_dir() {
            let snapshot = verifier.scan(&ScanRequest {
                rules_dir: path,
                managed_ranges: Path::new(""),
                blocked_ranges: Path::new(""),
                ..*request
            });
            read_directory(path, &snapshot, limits)
        } else {
            let blocked = request.blocked_ranges.file_name();
            let is_blocked = blocked.is_some() && path.file_name() == blocked;
            let kind = if is_blocked { RangesKind::Blocked } else { RangesKind::Managed };
            vec![FileReport::parse(path, &verifier.read(path), Kind::Either(kind), limits)]
        };
        files.extend(reports.into_iter().filter(|report| known.insert(report.path.clone())));
    }
    files
}

/// Parses the files of one directory; reports the directory itself where it is empty or cannot be listed.
#[must_use]
pub fn read_directory(path: &Path, snapshot: &ScannedFiles, limits: &Limits) -> Vec<FileReport> {
    let mut reports = parse(snapshot, RangesPaths::none(), limits);
    let mut directory = FileReport::new(path);
    if let Some(problem) = &snapshot.unlisted {
        directory.refuse(Rejection::new(Cause::Unreadable, problem.clone()));
        reports.push(directory);
    } else if reports.is_empty() {
        directory.warn("no rule file in the directory".to_owned());
        reports.push(directory);
    }
    for name in snapshot.ignored.names() {
        let mut ignored = FileReport::new(&path.join(name));
        ignored.warn("not read: the name does not end in .yaml".to_owned());
        reports.push(ignored);
    }
    reports
}

impl FileReport {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            visible_at: None,
            content: None,
            bytes: FileBytes::default(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn parse(path: &Path, seen: &ScannedFile, kind: Kind, limits: &Limits) -> Self {
        let mut report = Self { visible_at: Some(seen.visible_at), ..Self::new(path) };
        match &seen.content {
            Err(problem) => report.refuse(problem.clone()),
            Ok(bytes) => {
                let ranges = match kind {
                    Kind::Ranges(kind) => Some(kind),
                    Kind::Either(kind) => is_ranges_file(bytes).then_some(kind),
                    Kind::Database => None,
                };
                match ranges {
                    Some(kind) => report.take(read_ranges(bytes), |ranges| Content::Ranges(kind, ranges)),
                    None => report.take(read_database(bytes, limits), Content::Database),
                }
                let signature = seen.signature.as_ref().ok().cloned().flatten();
                report.bytes =
                    FileBytes { content: Arc::from(bytes.as_slice()), signature: signature.map(Arc::from) };
            }
        }
        report
    }

    fn take<T>(&mut self, read: Result<Checked<T>, Vec<Problem>>, content: impl FnOnce(T) -> Content) {
        match read {
            Ok(checked) => {
                self.content = Some(content(checked.value));
                self.warnings.extend(checked.warnings.into_iter().map(Note::from));
            }
            Err(problems) => self.errors.extend(problems.into_iter().map(FileError::from)),
        }
    }

    pub fn refuse(&mut self, Rejection { cause, message }: Rejection) {
        self.errors.push(FileError { note: Note::of_file(message), cause });
    }

    /// Reasons for rejecting the file.
    #[must_use]
    pub fn rejections(&self) -> Vec<Rejection> {
        self.errors.iter().map(|error| Rejection::new(error.cause, error.note.to_string())).collect()
    }

    pub fn warn(&mut self, message: String) {
        self.warnings.push(Note::of_file(message));
    }

    #[must_use]
    pub fn is_refused(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The rules of a valid rule file.
    #[must_use]
    pub fn database(&self) -> Option<&DatabaseRules> {
        match &self.content {
            Some(Content::Database(rules)) => Some(rules),
            Some(Content::Ranges(..)) | None => None,
        }
    }

    /// The file in the form that admission expects; `None` unless it is a valid rule file.
    #[must_use]
    pub fn candidate(&self) -> Option<Candidate> {
        let rules = self.database().filter(|_| !self.is_refused())?.clone();
        Some(Candidate { path: self.path.clone(), rules, bytes: self.bytes.clone() })
    }

    /// The ranges of a valid file, with the file in stored form.
    #[must_use]
    pub fn ranges(&self) -> Option<(RangesKind, ManagedRanges, StoredFile)> {
        match &self.content {
            Some(Content::Ranges(kind, ranges)) if !self.is_refused() => {
                let FileBytes { content, signature } = self.bytes.clone();
                Some((*kind, ranges.clone(), StoredFile { path: self.path.clone(), signature, content }))
            }
            Some(Content::Ranges(..) | Content::Database(_)) | None => None,
        }
    }
}

impl Note {
    fn of_file(message: String) -> Self {
        Self { line: None, column: None, path: None, message }
    }
}

impl From<Problem> for FileError {
    fn from(problem: Problem) -> Self {
        Self { note: problem.note.into(), cause: problem.cause }
    }
}

impl From<rules::Note> for Note {
    fn from(note: rules::Note) -> Self {
        let rules::Note { line, column, path, message } = note;
        Self { line: Some(line), column: Some(column), path: (!path.is_empty()).then_some(path), message }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
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
