//! File of the store, and the trait for which tests substitute a failing one.

use std::cell::Cell;
use std::fmt::{Debug, Display};
use std::fs::{self, File, Metadata, rename};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::{FallocateFlags, fallocate};
use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::files::dirs::{PRIVATE, make_dir};

/// Name of the store in the state directory.
const FILE: &str = "state.redb";
/// Disk space reserved beyond the end of the file, in bytes: commits succeed on a full disk.
const RESERVE_BYTES: i64 = 8 << 20;
/// Header of the file, which every commit of redb changes.
const HEADER_BYTES: usize = 512;
const PAGE_BYTES: usize = 4096;
/// Most attempts to copy while a writer commits continuously.
const COPIES: usize = 100;

/// Storage for the bytes of the store.
pub trait Medium: Debug + Display + Send + 'static {
    type Backend: StorageBackend;

    /// Opens the medium for writing.
    ///
    /// # Errors
    /// The medium does not exist, or cannot be opened.
    fn open(&self) -> Result<Self::Backend>;

    /// Replaces all bytes by these, durably: after a crash at any point either all or none of them are there.
    ///
    /// # Errors
    /// They cannot be written, synced or moved into place.
    fn replace(&self, bytes: &[u8]) -> Result<()>;

    /// Reads every byte as of one commit; `None` if nothing was ever stored.
    ///
    /// # Errors
    /// It cannot be read.
    fn copy(&self) -> Result<Option<Vec<u8>>>;

    /// Reserves space for later commits, as far as available.
    fn reserve(&self) {}

    /// Returns `true` while the medium still is the one that was opened last, whole: after the removal or truncation of a
    /// file under its writer, no boot finds further commits.
    fn is_in_place(&self) -> bool {
        true
    }
}

/// Store file of a state directory.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
    /// Device, inode and length of the file that was opened last, after its last commit.
    opened: Cell<Option<(u64, u64, u64)>>,
}

impl StateFile {
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE), opened: Cell::default() }
    }

    fn write_aside(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        if let Some(directory) = self.path.parent() {
            make_dir(directory, PRIVATE)?;
        }
        if let Ok(old) = File::options().write(true).open(&self.path) {
            // On a full disk, the freed reserve gives room for the copy.
            old.metadata().and_then(|metadata| old.set_len(metadata.len()))?;
        }
        let aside = self.path.with_extension("new");
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.set_len(bytes.len() as u64)?;
        // Zero pages stay holes: a refused commit may have extended the file without writing to it.
        for (page, at) in bytes.chunks(PAGE_BYTES).zip((0..).step_by(PAGE_BYTES)) {
            if page.iter().any(|byte| *byte != 0) {
                file.write_all_at(page, at)?;
            }
        }
        file.sync_all()?;
        Ok(aside)
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
        let file = File::options().read(true).write(true).open(&self.path);
        let file = file.context("cannot open for writing")?;
        self.opened.set(Some(identity(&file.metadata()?)));
        reserve(&file);
        Ok(FileBackend::new(file)?)
    }

    fn replace(&self, bytes: &[u8]) -> Result<()> {
        let aside = self.write_aside(bytes).context("cannot write a copy beside it")?;
        rename(&aside, &self.path).context("cannot rename the copy")?;
        if let Some(directory) = self.path.parent() {
            // A new file is durable once its directory is.
            File::open(directory)?.sync_all().context("cannot sync its directory")?;
        }
        Ok(())
    }

    fn copy(&self) -> Result<Option<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("cannot open for reading"),
        };
        for _ in 0..COPIES {
            let length = usize::try_from(file.metadata()?.len())?;
            ensure!(length > 0, "damaged: the file is empty");
            let mut bytes = vec![0; length];
            match file.read_exact_at(&mut bytes, 0) {
                // A commit has truncated the file meanwhile.
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
        bail!("cannot copy: the file changed during each of {COPIES} attempts")
    }

    fn reserve(&self) {
        if let Ok(file) = File::options().write(true).open(&self.path) {
            reserve(&file);
            if let (Ok(there), Some((device, inode, _))) = (file.metadata(), self.opened.get()) {
                self.opened.set(Some((device, inode, there.len())));
            }
        }
    }

    fn is_in_place(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|there| Some(identity(&there)) == self.opened.get())
    }
}

fn identity(metadata: &Metadata) -> (u64, u64, u64) {
    (metadata.dev(), metadata.ino(), metadata.len())
}

/// Allocates blocks beyond the end of the file without changing its length.
fn reserve(file: &File) {
    let length = file.metadata().ok().and_then(|metadata| i64::try_from(metadata.len()).ok());
    // Without support or space, the store stays as it is: a commit then reports the lack.
    let _ =
        fallocate(file.as_fd(), FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length.unwrap_or(0) + RESERVE_BYTES);
}
