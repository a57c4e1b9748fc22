//! Output of `validate`, file by file.

use std::io::{self, Write};

use serde::Serialize;

use crate::agent::{Content, FileError, FileReport, Note};
use crate::escape::{self, path_text, shown};

/// Writes one line per error and warning, or one for an accepted file.
pub(super) fn write_lines(files: &[FileReport], out: &mut impl Write) -> io::Result<()> {
    for file in files {
        let path = shown(&file.path);
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
    let files = refused + files.iter().filter(|file| file.content.is_some() && !file.is_refused()).count();
    writeln!(out, "{files} {}, {refused} rejected", if files == 1 { "file" } else { "files" })
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
        /// `database`, `ranges`, or null for a file that was not read or not parsed.
        kind: Option<&'static str>,
        database_id: Option<&'a str>,
        revision: Option<u64>,
        errors: &'a [FileError],
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
                path: path_text(&file.path),
                accepted: !file.is_refused(),
                kind,
                database_id: file.database().map(|rules| rules.id.as_str()),
                revision,
                errors: &file.errors,
                warnings: &file.warnings,
            }
        })
        .collect();
    escape::write_json(&Json { accepted: files.iter().all(|file| file.accepted), files }, out)
}
