//! The file below the store, and the trait that lets a test put a failing one in its place.

use std::fmt::{Debug, Display};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{FallocateFlags, fallocate};
use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::files::dirs::{PRIVATE, make_dir};

/// Name of the store in the state directory.
const FILE: &str = "state.redb";
/// Disk space held in reserve beyond the end of the file, in bytes: a disk that others have filled still takes commits.
const RESERVE_BYTES: i64 = 8 << 20;
/// The part of the file that every commit of redb changes: its header.
const HEADER_BYTES: usize = 512;
/// Copies tried while a writer commits all the time.
const COPIES: usize = 100;

/// A place for the bytes of the store.
pub trait Medium: Debug + Display + Send + 'static {
    type Backend: StorageBackend;

    /// Opens the place for writing, and makes it when it is not there.
    ///
    /// # Errors
    /// It cannot be made or opened.
    fn open(&self) -> Result<Self::Backend>;

    /// Every byte as of one commit; `None` when nothing was ever stored.
    ///
    /// # Errors
    /// It cannot be read.
    fn copy(&self) -> Result<Option<Vec<u8>>>;

    /// Takes space for later commits, as far as there is any.
    fn reserve(&self) {}
}

/// The store of a state directory.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE) }
    }

    fn file(&self) -> io::Result<File> {
        if let Some(directory) = self.path.parent() {
            make_dir(directory, PRIVATE)?;
        }
        File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.path)
    }
}

impl Display for StateFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Display::fmt(&self.path.display(), f)
    }
}

impl Medium for StateFile {
    type Backend = FileBackend;

    fn open(&self) -> Result<FileBackend> {
        let file = self.file().context("cannot open for writing")?;
        reserve(&file);
        if let Some(directory) = self.path.parent() {
            // A new file is durable once its directory is.
            File::open(directory)?.sync_all().context("cannot sync its directory")?;
        }
        Ok(FileBackend::new(file)?)
    }

    fn copy(&self) -> Result<Option<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("cannot open for reading"),
        };
        for _ in 0..COPIES {
            let length = usize::try_from(file.metadata()?.len())?;
            if length == 0 {
                return Ok(None);
            }
            let mut bytes = vec![0; length];
            match file.read_exact_at(&mut bytes, 0) {
                // A commit has cut the file meanwhile.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
                read => read.context("cannot read")?,
            }
            // redb overwrites no page of the last commit before the next commit has changed the header.
            let mut header = [0; HEADER_BYTES];
            let header = &mut header[..HEADER_BYTES.min(length)];
            if file.read_exact_at(header, 0).is_ok() && bytes.starts_with(header) {
                return Ok(Some(bytes));
            }
        }
        bail!("changes all the time: no commit could be copied whole in {COPIES} tries")
    }

    fn reserve(&self) {
        if let Ok(file) = File::options().write(true).open(&self.path) {
            reserve(&file);
        }
    }
}

/// Allocates blocks beyond the end of the file without changing its length.
fn reserve(file: &File) {
    let length = file.metadata().ok().and_then(|metadata| i64::try_from(metadata.len()).ok());
    // A file system that cannot, or has no room, leaves the store as it is: a commit then says what it lacks.
    let _ =
        fallocate(file.as_fd(), FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length.unwrap_or(0) + RESERVE_BYTES);
}
