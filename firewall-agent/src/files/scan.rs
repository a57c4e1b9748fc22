//! Scan of all files that the control plane pushes, bounded in the bytes it reads and retains.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::file_content::FileContent;
use super::read::{
    OpenFile, ReadError, each_file, open_file, open_rule_file, read_rule_signature, read_signature,
    signature_path,
};
use super::read_cache::ReadCache;
use crate::escape::{escaped, name_text};
use crate::rules::{Cause, Rejection};

/// Most bytes of rule files that one scan reads.
const MOST_BYTES: usize = 64 << 20;
/// Most ignored files that are named.
const MOST_NAMED: usize = 8;

/// Input of a scan.
#[derive(Debug, Clone, Copy)]
pub struct ScanRequest<'a> {
    pub rules_dir: &'a Path,
    pub managed_ranges: &'a Path,
    /// Empty for none.
    pub blocked_ranges: &'a Path,
    /// Rule files that were accepted before: they are read first.
    pub known: &'a BTreeSet<PathBuf>,
    /// Most rule files to read. As many more are refused by name, further ones only counted.
    pub most_files: usize,
}

/// Signature beside a file; `None` if there is none, or none is required.
pub type Signature = Result<Option<Vec<u8>>, Rejection>;

/// Checks the bytes of a file against its signature; rejected bytes are dropped.
pub type Check<'a> = &'a mut dyn FnMut(&FileContent, &Signature) -> Result<(), Rejection>;

/// Content of a file at the time of the scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedFile {
    /// The bytes, or the reason for their absence.
    pub content: Result<FileContent, Rejection>,
    pub signature: Signature,
    /// Time at which the file, or the signature if later, was put in place: the last change of its inode, by the clock
    /// of the file system.
    pub visible_at: Timestamp,
}

/// All files of one scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScannedFiles {
    /// Rule files, by path.
    pub rules: BTreeMap<PathBuf, ScannedFile>,
    /// Managed ranges; `None` if there is no file.
    pub ranges: Option<ScannedFile>,
    /// Blocked ranges; `None` if there is no file.
    pub blocked: Option<ScannedFile>,
    /// Reason why the directory could not be listed, or files of it are missing here.
    pub unlisted: Option<String>,
    /// Files with names similar to those of rule files.
    pub ignored: Ignored,
}

/// Files of the directory that their writer may think are rule files, and that are not read: `x.yml`, `x.YAML`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ignored {
    /// The first 8 by name, harmful characters escaped.
    names: BTreeSet<String>,
    /// Number of those that are not in `names`.
    more: usize,
}

impl Ignored {
    fn add(&mut self, path: &Path) {
        self.names.insert(escaped(&name_text(path.file_name().unwrap_or_default())).into_owned());
        if self.names.len() > MOST_NAMED {
            self.names.pop_last();
            self.more += 1;
        }
    }

    /// The first few by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Message for a condition or the log; `None` if there are no such files.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let names = names.join(", ");
        match (self.names.len(), self.more) {
            (0, _) => None,
            (_, 0) => Some(format!("not read, the name does not end in .yaml: {names}")),
            (_, more) => Some(format!("not read, the name does not end in .yaml: {names}, and {more} more")),
        }
    }
}

/// Digest of one file as scanned: its content, its signature and the time.
pub type Mark = [u8; 32];

/// Digests of the files of a snapshot, and the rest of it: with equal marks nothing needs a reconcile. They do not
/// require the bytes of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Marks {
    pub rules: BTreeMap<PathBuf, Mark>,
    pub ranges: Option<Mark>,
    pub blocked: Option<Mark>,
    unlisted: Option<String>,
    ignored: Ignored,
}

impl ScannedFile {
    fn mark(&self) -> Mark {
        let mut mark = Sha256::new();
        match &self.content {
            Ok(content) => mark.update(content.sha256()),
            Err(rejection) => mark.update(format!("{rejection:?}")),
        }
        mark.update(format!("{:?} {}", self.signature, self.visible_at.as_nanosecond()));
        mark.finalize().into()
    }
}

impl ScannedFiles {
    /// Digests of the files.
    #[must_use]
    pub fn marks(&self) -> Marks {
        Marks {
            rules: self.rules.iter().map(|(path, seen)| (path.clone(), seen.mark())).collect(),
            ranges: self.ranges.as_ref().map(ScannedFile::mark),
            blocked: self.blocked.as_ref().map(ScannedFile::mark),
            unlisted: self.unlisted.clone(),
            ignored: self.ignored.clone(),
        }
    }
}

/// Reads the rule files of a directory and the files of managed and blocked ranges, through the cache; with `check`, also
/// the signatures beside them. Files beyond the bounds of one scan are in the snapshot, too, with that reason.
#[must_use]
pub fn scan(request: &ScanRequest<'_>, cache: &mut ReadCache, mut check: Option<Check<'_>>) -> ScannedFiles {
    let mut snapshot = ScannedFiles::default();
    match list(request, &mut snapshot.ignored) {
        Ok((paths, beyond)) => {
            let mut left = Some(MOST_BYTES);
            let files = paths.into_iter().enumerate().map(|(index, path)| {
                let seen = match left {
                    Some(_) if index >= request.most_files => {
                        unread(format!("more than {} rule files", request.most_files))
                    }
                    Some(bytes) => {
                        let read = Read::new(cache, &path, open_rule_file);
                        left = bytes.checked_sub(read.content.as_ref().map_or(0, |content| content.len()));
                        match left {
                            Some(_) => scanned(&path, read, &mut check, read_rule_signature),
                            None => unread(BYTES.to_owned()),
                        }
                    }
                    None => unread(BYTES.to_owned()),
                };
                (path, seen)
            });
            // Paths are slow to compare; most are in order.
            snapshot.rules = files.collect();
            snapshot.unlisted = (beyond > 0)
                .then(|| format!("{}: {beyond} more files are not read", request.rules_dir.display()));
        }
        Err(error) => {
            snapshot.unlisted = Some(format!("cannot list {}: {error}", request.rules_dir.display()));
        }
    }
    // A file that cannot be examined is not absent: the read reports the error.
    let mut ranges = |path: &Path| {
        let is_there = !path.as_os_str().is_empty() && !matches!(path.try_exists(), Ok(false));
        is_there.then(|| scanned(path, Read::new(cache, path, open_file), &mut check, read_signature))
    };
    snapshot.ranges = ranges(request.managed_ranges);
    snapshot.blocked = ranges(request.blocked_ranges);
    let rules = snapshot.rules.iter().map(|(path, seen)| (path.as_path(), seen));
    let ranges = snapshot.ranges.iter().map(|seen| (request.managed_ranges, seen));
    let blocked = snapshot.blocked.iter().map(|seen| (request.blocked_ranges, seen));
    let rejected = rules.chain(ranges).chain(blocked).filter(|(_, seen)| seen.content.is_err());
    cache.end(rejected.map(|(path, _)| path));
    snapshot
}

/// Reads one file by its path; with `check`, also the signature beside it.
#[must_use]
pub fn read(path: &Path, mut check: Option<Check<'_>>) -> ScannedFile {
    let read = Read::new(&mut ReadCache::default(), path, open_file);
    scanned(path, read, &mut check, read_signature)
}

/// A file before the check of its signature.
struct Read {
    content: Result<FileContent, Rejection>,
    /// Time of the last change of its inode.
    changed: Option<Timestamp>,
}

impl Read {
    fn new(cache: &mut ReadCache, path: &Path, open: fn(&Path) -> Result<OpenFile, ReadError>) -> Self {
        if let Some((content, metadata)) = cache.unchanged(path) {
            return Self { content: Ok(content), changed: changed(&metadata) };
        }
        let opened = open(path);
        let changed = match &opened {
            Ok(file) => changed(file.metadata()),
            Err(_) => changed_at(path),
        };
        let content = opened.and_then(|file| cache.read(path, file)).map_err(Rejection::from);
        Self { content, changed }
    }
}

fn changed(metadata: &Metadata) -> Option<Timestamp> {
    Timestamp::new(metadata.ctime(), i32::try_from(metadata.ctime_nsec()).ok()?).ok()
}

fn changed_at(path: &Path) -> Option<Timestamp> {
    changed(&fs::metadata(path).ok()?)
}

const BYTES: &str = "more than 64 MiB of rule files";

/// Entry for a file beyond the bounds of one scan.
fn unread(bound: String) -> ScannedFile {
    let why = format!("not read: {bound} in the directory; known files are read first");
    let content = Err(Rejection::new(Cause::NotRead, why));
    ScannedFile { content, signature: Ok(None), visible_at: Timestamp::UNIX_EPOCH }
}

/// Rule files in the order of reading: known ones, then the others by name; and the number of files beyond twice the
/// most that are read.
fn list(request: &ScanRequest<'_>, ignored: &mut Ignored) -> io::Result<(Vec<PathBuf>, usize)> {
    let (mut known, mut others, mut beyond) = (BTreeSet::new(), BTreeSet::new(), 0);
    each_file(request.rules_dir, |path, is_rule_file| {
        if !is_rule_file {
            ignored.add(&path);
            return;
        }
        if request.known.contains(&path) {
            known.insert(path);
            return;
        }
        others.insert(path);
        if others.len() > request.most_files.saturating_mul(2) {
            others.pop_last();
            beyond += 1;
        }
    })?;
    Ok((known.into_iter().chain(others).collect(), beyond))
}

/// Reads the signature after the file: a writer that replaces the signature first never appears with a new file and an
/// old signature.
fn scanned(
    path: &Path,
    Read { content, changed }: Read,
    check: &mut Option<Check<'_>>,
    read_signature: fn(&Path) -> Signature,
) -> ScannedFile {
    let signature = if check.is_some() { read_signature(path) } else { Ok(None) };
    let signed = check.is_some().then(|| changed_at(&signature_path(path))).flatten();
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH);
    let content = content.and_then(|content| match check {
        Some(check) => check(&content, &signature).map(|()| content),
        None => Ok(content),
    });
    let visible_at = changed.max(signed).map_or(now, |changed| changed.min(now));
    ScannedFile { content, signature, visible_at }
}

#[cfg(test)]
mod tests;
