//! The last good files, kept in `<state_dir>/last-good/` so that a cold boot enforces what was in force.
//!
//! What cannot be proven whole and in its own place is never given back: the caller sees a problem instead.

mod format;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::write::replace;
use crate::rules::DatabaseId;

/// Most bytes of one stored file, header included.
pub const MAX_STORED_BYTES: usize = 16 << 20;

const DIR: &str = "last-good";
const DATABASE_PREFIX: &str = "database-";
const RANGES: &str = "ranges";
const LEDGER: &str = "ledger";

/// What a stored file is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// The rule file of one database.
    Database(&'a DatabaseId),
    /// The managed ranges.
    Ranges,
    /// What the agent notes for itself.
    Ledger,
}

impl Entry<'_> {
    fn file_name(&self) -> String {
        match self {
            Self::Database(id) => format!("{DATABASE_PREFIX}{id}"),
            Self::Ranges => RANGES.to_owned(),
            Self::Ledger => LEDGER.to_owned(),
        }
    }
}

/// Everything that is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    pub databases: BTreeMap<DatabaseId, Vec<u8>>,
    pub ranges: Option<Vec<u8>>,
    pub ledger: Option<Vec<u8>>,
    /// Files that are not given back, as `path: what is wrong`, by path.
    pub problems: Vec<String>,
}

/// The directory of one agent; the agent's lock keeps others out.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Makes the directory (mode 0700) when it is not there, and removes what a crash left half written.
    ///
    /// # Errors
    /// The directory cannot be made, listed or written.
    pub fn open(state_dir: &Path) -> Result<Self> {
        let dir = state_dir.join(DIR);
        fs::create_dir_all(state_dir).with_context(|| format!("{}: cannot be made", state_dir.display()))?;
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => sync_dir(state_dir)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("{}: cannot be made", dir.display())),
        }
        let (_, hidden) = names(&dir).with_context(|| format!("{}: cannot be listed", dir.display()))?;
        for name in hidden {
            let path = dir.join(name);
            fs::remove_file(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
        Ok(Self { dir })
    }

    /// The store of a state directory, for who only reads: makes and removes nothing. `None` when there is none.
    #[must_use]
    pub fn find(state_dir: &Path) -> Option<Self> {
        let dir = state_dir.join(DIR);
        dir.exists().then_some(Self { dir })
    }

    /// Replaces what is stored for `entry`. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// The content is too large, or the directory cannot be written: the former content is then still stored. Or the
    /// directory cannot be synced: then either is.
    pub fn save(&self, entry: &Entry<'_>, content: &[u8]) -> Result<()> {
        let path = self.path(entry);
        let stored = format::encode(entry, content);
        let bytes = stored.len();
        ensure!(bytes <= MAX_STORED_BYTES, "{}: {bytes} bytes, at most {MAX_STORED_BYTES}", path.display());
        replace(&path, &stored)?;
        sync_dir(&self.dir)
    }

    /// Removes what is stored for `entry`, if anything is. When this returns, it stays removed after a power cut.
    ///
    /// # Errors
    /// The directory cannot be written or synced.
    pub fn remove(&self, entry: &Entry<'_>) -> Result<()> {
        let path = self.path(entry);
        match fs::remove_file(&path) {
            Ok(()) => sync_dir(&self.dir),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("{}: cannot be removed", path.display())),
        }
    }

    /// Reads every stored file.
    #[must_use]
    pub fn load(&self) -> Loaded {
        let mut loaded = Loaded::default();
        match names(&self.dir) {
            Ok((names, _)) => names.iter().for_each(|name| self.take(name, &mut loaded)),
            Err(error) => loaded.problems.push(format!("{}: cannot be listed: {error}", self.dir.display())),
        }
        loaded
    }

    fn take(&self, name: &str, loaded: &mut Loaded) {
        let path = self.dir.join(name);
        let database: Option<DatabaseId> = name.strip_prefix(DATABASE_PREFIX).and_then(|id| id.parse().ok());
        let entry = match (&database, name) {
            (Some(id), _) => Entry::Database(id),
            (None, RANGES) => Entry::Ranges,
            (None, LEDGER) => Entry::Ledger,
            (None, _) => return loaded.problems.push(format!("{}: not of the agent", path.display())),
        };
        let content = read(&path).and_then(|stored| format::decode(&entry, stored));
        match (content, entry) {
            (Ok(content), Entry::Database(id)) => drop(loaded.databases.insert(id.clone(), content)),
            (Ok(content), Entry::Ranges) => loaded.ranges = Some(content),
            (Ok(content), Entry::Ledger) => loaded.ledger = Some(content),
            (Err(error), _) => loaded.problems.push(format!("{}: {error:#}", path.display())),
        }
    }

    /// Where `entry` is stored.
    #[must_use]
    pub fn path(&self, entry: &Entry<'_>) -> PathBuf {
        self.dir.join(entry.file_name())
    }
}

/// The names in a directory, sorted, hidden ones apart: those are files that never took their place.
fn names(dir: &Path) -> io::Result<(Vec<String>, Vec<String>)> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.into_iter().partition(|name| !name.starts_with('.')))
}

/// The bytes of a regular file; a link is not followed, since the store makes none.
fn read(path: &Path) -> Result<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = File::options().read(true).custom_flags(flags).open(path).context("cannot be read")?;
    if !file.metadata().context("cannot be read")?.is_file() {
        bail!("not a regular file");
    }
    let mut bytes = Vec::new();
    file.take(MAX_STORED_BYTES as u64 + 1).read_to_end(&mut bytes).context("cannot be read")?;
    ensure!(bytes.len() <= MAX_STORED_BYTES, "more than {MAX_STORED_BYTES} bytes");
    Ok(bytes)
}

/// A rename or removal is lasting only once its directory is synced.
fn sync_dir(dir: &Path) -> Result<()> {
    let sync = || File::open(dir)?.sync_all();
    sync().with_context(|| format!("{}: cannot be synced", dir.display()))
}

#[cfg(test)]
mod tests;
