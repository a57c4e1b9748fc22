//! One look at all files that the control plane pushes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use std::os::unix::fs::MetadataExt as _;

use jiff::Timestamp;

use super::read::{ReadError, read_file, read_rule_file, read_signature, signature_path, yaml_files};

/// What a file held when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The bytes, or why there are none.
    pub content: Result<Vec<u8>, String>,
    /// The signature beside it, or why it cannot be read; `None` when there is none, or none is looked for.
    pub signature: Result<Option<Vec<u8>>, String>,
    /// When the file, or the signature if that came later, took its place: the time of its inode's last change, by the
    /// clock of the file system.
    pub visible_at: Timestamp,
}

/// All files of one look; two that are equal need not be read again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The rule files, by path.
    pub rules: BTreeMap<PathBuf, Seen>,
    /// The managed ranges; `None` when there is no such file.
    pub ranges: Option<Seen>,
    /// Why the directory could not be listed.
    pub unlisted: Option<String>,
}

/// Reads the rule files of a directory and the file of managed ranges; `signed`, also the signatures beside them.
#[must_use]
pub fn scan(rules_dir: &Path, managed_ranges: &Path, signed: bool) -> Snapshot {
    let mut snapshot = Snapshot::default();
    match yaml_files(rules_dir) {
        Ok(paths) => {
            let see = |path: PathBuf| {
                let seen = see(&path, read_rule_file(&path), signed);
                (path, seen)
            };
            snapshot.rules = paths.into_iter().map(see).collect();
        }
        Err(error) => snapshot.unlisted = Some(format!("{}: cannot be listed: {error}", rules_dir.display())),
    }
    // What cannot be looked at is not absent: it is read, and the error reported.
    if !matches!(managed_ranges.try_exists(), Ok(false)) {
        snapshot.ranges = Some(see(managed_ranges, read_file(managed_ranges), signed));
    }
    snapshot
}

/// The signature is read after the file: who writes it first is never seen with the file new and the signature old.
fn see(path: &Path, content: Result<Vec<u8>, ReadError>, signed: bool) -> Seen {
    let changed = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Timestamp::new(metadata.ctime(), i32::try_from(metadata.ctime_nsec()).ok()?).ok()
    };
    let signature = if signed { read_signature(path) } else { Ok(None) };
    let changed = changed(path).max(changed(&signature_path(path)).filter(|_| signed));
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH);
    Seen {
        content: content.map_err(|error| error.to_string()),
        signature,
        visible_at: changed.map_or(now, |changed| changed.min(now)),
    }
}
