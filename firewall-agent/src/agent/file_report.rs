//! Result of reading one pushed file: its content, or all its errors. `run`, `plan` and `validate` read files only
//! through this module.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::files::file_content::FileContent;
use crate::files::read_cache::ReadCache;
use crate::files::scan::{Mark, Marks, ScanRequest, ScannedFile, ScannedFiles};
use crate::files::signature_verifier::SignatureVerifier;
use crate::rules::{
    self, Cause, Checked, DatabaseRules, Limits, ManagedRanges, Problem, RangesKind, Rejection,
    is_ranges_file, read_database, read_ranges,
};
use crate::sync::{Candidate, FileBytes, StoredFile};

/// A file, or a directory without rule files.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
pub enum Content {
    Database(Arc<DatabaseRules>),
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
    files_of(snapshot, ranges)
        .map(|(kind, path, seen)| {
            FileReport::parse(path, seen, kind.map_or(Kind::Database, Kind::Ranges), limits)
        })
        .collect()
}

/// The files of a snapshot: rule files, then ranges.
fn files_of<'a>(
    snapshot: &'a ScannedFiles,
    ranges: RangesPaths<'a>,
) -> impl Iterator<Item = (Option<RangesKind>, &'a Path, &'a ScannedFile)> {
    let rules = snapshot.rules.iter().map(|(path, seen)| (None, path.as_path(), seen));
    let managed = snapshot.ranges.iter().map(move |seen| (Some(RangesKind::Managed), ranges.managed, seen));
    let blocked = snapshot.blocked.iter().map(move |seen| (Some(RangesKind::Blocked), ranges.blocked, seen));
    rules.chain(managed).chain(blocked)
}

/// The pushed files as parsed last: a file that is unchanged since is not parsed again.
#[derive(Debug, Default)]
pub struct ParsedFiles {
    /// Of the snapshot that was parsed last.
    marks: Marks,
    /// In the order of the marks.
    reports: Vec<FileReport>,
}

impl ParsedFiles {
    /// Returns `true` if the last parse was of these files.
    pub fn are(&self, marks: &Marks) -> bool {
        self.marks == *marks
    }

    /// Parses the changed files of a snapshot with these marks; returns the reports of all its files, as [`parse`] does
    /// for the same paths and limits. Ranges that equal those in force share their prefixes.
    pub fn parse<'a>(
        &mut self,
        (snapshot, marks): (&ScannedFiles, Marks),
        ranges: RangesPaths<'_>,
        limits: &Limits,
        in_force: impl Fn(RangesKind) -> &'a ManagedRanges,
    ) -> &[FileReport] {
        let kinds = self.marks.kinds().zip(std::mem::take(&mut self.reports));
        let mut known: HashMap<(Option<RangesKind>, OsString), FileReport> =
            kinds.map(|(kind, report)| ((kind, report.path.clone().into()), report)).collect();
        let reports = files_of(snapshot, ranges).map(|(kind, path, seen)| {
            let is_same = self.marks.of(kind, path).is_some_and(|mark| marks.of(kind, path) == Some(mark));
            let report = known.remove(&(kind, path.into())).filter(|_| is_same);
            let parse = || FileReport::parse(path, seen, kind.map_or(Kind::Database, Kind::Ranges), limits);
            let mut report = report.unwrap_or_else(parse);
            if let Some(Content::Ranges(kind, ranges)) = &mut report.content {
                ranges.share(in_force(*kind));
            }
            report
        });
        self.reports = reports.collect();
        self.marks = marks;
        &self.reports
    }
}

impl Marks {
    /// The kinds of the files, in the order of [`files_of`].
    fn kinds(&self) -> impl Iterator<Item = Option<RangesKind>> {
        let managed = self.ranges.iter().map(|_| Some(RangesKind::Managed));
        let blocked = self.blocked.iter().map(|_| Some(RangesKind::Blocked));
        self.rules.keys().map(|_| None).chain(managed).chain(blocked)
    }

    fn of(&self, kind: Option<RangesKind>, path: &Path) -> Option<&Mark> {
        match kind {
            None => self.rules.get(path),
            Some(RangesKind::Managed) => self.ranges.as_ref(),
            Some(RangesKind::Blocked) => self.blocked.as_ref(),
        }
    }
}

/// Bytes of a file that may be accepted.
fn bytes_of(seen: &ScannedFile) -> FileBytes {
    let signature = seen.signature.as_ref().ok().cloned().flatten();
    let content = seen.content.as_ref().ok().map(FileContent::shared);
    content.map(|content| FileBytes { content, signature: signature.map(Arc::from) }).unwrap_or_default()
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
            let request = ScanRequest {
                rules_dir: path,
                managed_ranges: Path::new(""),
                blocked_ranges: Path::new(""),
                ..*request
            };
            let snapshot = verifier.scan(&request, &mut ReadCache::default());
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
                    None => {
                        report.take(read_database(bytes, limits), |rules| Content::Database(Arc::new(rules)));
                    }
                }
                report.bytes = bytes_of(seen);
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
        let rules = match &self.content {
            Some(Content::Database(rules)) if !self.is_refused() => Arc::clone(rules),
            Some(Content::Database(_) | Content::Ranges(..)) | None => return None,
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_rules: 30, allow_monitor: false, node_name: None };

    fn seen(text: &str) -> ScannedFile {
        let content = Ok(text.as_bytes().to_vec().into());
        ScannedFile { content, signature: Ok(None), visible_at: Timestamp::UNIX_EPOCH }
    }

    fn database(revision: u64) -> ScannedFile {
        seen(&format!(
            "schema_version: 1\ndatabase_id: a\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\n\
             endpoints: [{{port: 5432}}]\nrules: []\n...\n"
        ))
    }

    fn ranges(cidrs: &[&str]) -> ScannedFile {
        let line = |(at, cidr): (usize, &&str)| format!("  - {{id: r{at}, name: N, cidrs: [{cidr}]}}\n");
        let lines: String = cidrs.iter().enumerate().map(line).collect();
        seen(&format!(
            "schema_version: 1\nrevision: 1\ngenerated_at: 2026-08-21T15:27:32Z\nranges:\n{lines}...\n"
        ))
    }

    #[test]
    fn reports_are_those_of_a_fresh_parse_and_unchanged_files_are_shared() {
        let paths = || RangesPaths { managed: Path::new("m"), blocked: Path::new("b") };
        let (first, second) =
            (ranges(&["192.0.2.0/24", "198.51.100.0/24"]), ranges(&["192.0.2.0/24", "::/0"]));
        let with = |rules: &[(&str, ScannedFile)], ranges: Option<&ScannedFile>| ScannedFiles {
            rules: rules.iter().map(|(path, seen)| (path.into(), seen.clone())).collect(),
            ranges: ranges.cloned(),
            ..ScannedFiles::default()
        };
        let both = [("a", database(1)), ("b", seen("broken"))];
        let swapped = [("a", seen("broken")), ("b", database(1))];
        let snapshots = [
            with(&both, Some(&first)),
            with(&both, Some(&first)),
            with(&swapped, Some(&second)),
            with(&[("a", database(2))], None),
            with(&both, Some(&second)),
            ScannedFiles { blocked: Some(first.clone()), ..with(&[], Some(&second)) },
            ScannedFiles { blocked: Some(second.clone()), ..with(&[], Some(&first)) },
        ];
        let (mut parsed, mut in_force) = (ParsedFiles::default(), ManagedRanges::default());
        let mut before: Option<Arc<DatabaseRules>> = None;
        for (at, snapshot) in snapshots.iter().enumerate() {
            let marks = snapshot.marks();
            assert_eq!(parsed.are(&marks), at == 1, "{at}");
            let reports = parsed.parse((snapshot, marks), paths(), &LIMITS, |_| &in_force);
            assert_eq!(format!("{reports:?}"), format!("{:?}", parse(snapshot, paths(), &LIMITS)), "{at}");
            let rules = reports.iter().find_map(FileReport::candidate).map(|candidate| candidate.rules);
            let is_shared =
                rules.as_ref().zip(before.as_ref()).is_some_and(|(one, other)| Arc::ptr_eq(one, other));
            assert_eq!(is_shared, at == 1, "{at}");
            before = rules;
            if let Some((_, ranges, _)) = reports.iter().find_map(FileReport::ranges) {
                let same = ranges.ranges.keys().filter(|id| ranges.shares(id, &in_force)).count();
                assert_eq!(same, [0, 2, 1, 0, 2, 2, 1][at], "{at}");
                in_force = ranges;
            }
        }
    }
}
