//! `firewall-agent validate PATH…`: whether `run` would take these files.

mod conflicts;
mod report;

use std::io::Write;
use std::path::PathBuf;

use super::format::Format;
use super::given::{FileReport, read_paths};
use crate::rules::{Limits, TrustedKey};

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
    keys: &[TrustedKey],
    format: Format,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let mut files = read_paths(paths, limits, keys);
    conflicts::find(&mut files);
    match format {
        Format::Table => report::write_lines(&files, out)?,
        Format::Json => report::write_json(&files, out)?,
    }
    let refused = files.iter().any(FileReport::is_refused);
    Ok(if refused { Outcome::Refused } else { Outcome::Accepted })
}
