//! Output of `validate`, file by file.

use std::io::{self, Write};

use serde::Serialize;

use crate::agent::{Content, FileError, FileReport, Note};
use crate::escape::{self, path_text, shown};
use crate::rules::RangesKind;

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
            Some(Content::Ranges(kind, ranges)) => {
                writeln!(out, "{path}: ok, {} revision {}", kind.name(), ranges.revision)?
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
        /// `database`, `ranges`, `blocked_ranges`, or null for a file that was not read or not parsed.
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
                Some(Content::Ranges(RangesKind::Managed, ranges)) => (Some("ranges"), Some(ranges.revision)),
                Some(Content::Ranges(RangesKind::Blocked, ranges)) => {
                    (Some("blocked_ranges"), Some(ranges.revision))
                }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::Timestamp;

    use super::*;
    use crate::agent::{RangesPaths, parse};
    use crate::cli::snapshots::check;
    use crate::files::scan::{ScannedFile, ScannedFiles};
    use crate::rules::Limits;

    #[test]
    fn screens_of_validate() {
        let good = "schema_version: 1\ndatabase_id: 6a316183d0f1f10ecbcca123\nrevision: 7\n\
                    generated_at: 2026-08-21T15:27:32Z\nendpoints: [{port: 5432, address: 192.0.2.1}]\nrules: []\n...\n";
        let bad = good.replace("port: 5432", "port: 70000").replace("rules: []", "rules: [{id: fr-1}]");
        let file = |text: &str| ScannedFile {
            content: Ok(text.as_bytes().to_vec().into()),
            signature: Ok(None),
            visible_at: Timestamp::UNIX_EPOCH,
        };
        let path =
            |number: u32| format!("/etc/firewall-agent/rules.d/6a316183d0f1f10ecbcca{number:03}.yaml").into();
        let snapshot = ScannedFiles {
            rules: [(path(123), file(good)), (path(124), file(&bad))].into(),
            ..ScannedFiles::default()
        };
        let limits = Limits { max_rules: 30, allow_monitor: false, node_name: None };
        let nowhere = RangesPaths { managed: Path::new(""), blocked: Path::new("") };
        let files = parse(&snapshot, nowhere, &limits);
        check("validate", |_, out| Ok(write_lines(&files, out)?));
    }
}
