//! `firewall-agent validate PATH…`: whether `run` would take these files.

mod conflicts;
mod report;

use std::io::Write;
use std::path::{Path, PathBuf};

use self::report::{Content, FileReport};
use super::format::Format;
use crate::files::read::{read_file, yaml_files};
use crate::rules::{Checked, Limits, Problem, is_ranges_file, read_database, read_ranges};

/// What came out for all files together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    /// At least one file would be refused.
    Refused,
}

/// Reads every file and writes every error and warning, also of files against each other.
///
/// A directory stands for its rule files. A file with a top-level `ranges` field is read as managed ranges.
///
/// # Errors
/// `out` cannot be written; a file that cannot be read is part of the report.
pub fn validate(
    paths: &[PathBuf],
    limits: &Limits,
    format: Format,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let mut files: Vec<FileReport> = Vec::new();
    for path in paths {
        for report in reports(path, limits) {
            if !files.iter().any(|known| known.path == report.path) {
                files.push(report);
            }
        }
    }
    conflicts::find(&mut files);
    match format {
        Format::Table => report::write_lines(&files, out)?,
        Format::Json => report::write_json(&files, out)?,
    }
    let refused = files.iter().any(FileReport::is_refused);
    Ok(if refused { Outcome::Refused } else { Outcome::Accepted })
}

fn reports(path: &Path, limits: &Limits) -> Vec<FileReport> {
    if !path.is_dir() {
        return vec![read(path, limits)];
    }
    let mut dir = FileReport::new(path);
    match yaml_files(path) {
        Ok(files) if files.is_empty() => dir.warn("directory holds no rule file".to_owned()),
        Ok(files) => return files.iter().map(|file| read(file, limits)).collect(),
        Err(error) => dir.refuse(format!("cannot be listed: {error}")),
    }
    vec![dir]
}

fn read(path: &Path, limits: &Limits) -> FileReport {
    let mut report = FileReport::new(path);
    match read_file(path) {
        Err(error) => report.refuse(error.to_string()),
        Ok(bytes) if is_ranges_file(&bytes) => take(&mut report, read_ranges(&bytes), Content::Ranges),
        Ok(bytes) => take(&mut report, read_database(&bytes, limits), Content::Database),
    }
    report
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
