//! `firewall-agent validate PATH…`: checks if `run` would accept these files.

mod conflicts;
mod report;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::format::Format;
use crate::agent::{FileReport, read_paths};
use crate::files::scan::ScanRequest;
use crate::files::signature_verifier::SignatureVerifier;
use crate::rules::{Limits, TrustedKey};

/// Result for all files together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    /// At least one file would be refused.
    Refused,
}

/// Reads every file and writes every error and warning, conflicts between files included.
///
/// A directory means its rule files. A file with a top-level `ranges` field is parsed as blocked ranges if it has the
/// name of the configured ones (`blocked_ranges`), as managed ranges otherwise.
///
/// # Errors
/// `out` cannot be written; a file that cannot be read is part of the report.
pub fn validate(
    paths: &[PathBuf],
    limits: &Limits,
    keys: Vec<TrustedKey>,
    blocked_ranges: &Path,
    most_files: usize,
    format: Format,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let nothing = BTreeSet::new();
    let request = ScanRequest {
        rules_dir: Path::new(""),
        managed_ranges: Path::new(""),
        blocked_ranges,
        known: &nothing,
        most_files,
    };
    let mut files = read_paths(paths, &request, limits, &mut SignatureVerifier::new(keys));
    conflicts::find(&mut files);
    match format {
        Format::Table | Format::Wide => report::write_lines(&files, out)?,
        Format::Json => report::write_json(&files, out)?,
    }
    let refused = files.iter().any(FileReport::is_refused);
    Ok(if refused { Outcome::Refused } else { Outcome::Accepted })
}
