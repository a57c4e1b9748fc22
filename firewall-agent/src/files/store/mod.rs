//! Last-good store: accepted files and persisted state in one transactional file, `<state_dir>/state.redb`.
//!
//! redb was chosen over SQLite (rusqlite): both survive kill and power cut at any point; redb is pure Rust, hence the
//! static musl program for both architectures needs no C compiler, and its storage is a trait, which lets tests tear
//! and refuse single writes of the real store. SQLite readers share the file through a `-shm` file that they must be
//! able to write, which a read-only command beside a dead daemon cannot; here a reader copies the file (about as large
//! as the accepted files) and opens the copy, beside a running or dead daemon, with no right but to read it.

mod bytes;
mod medium;
mod records;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context as _, Result, bail};
use redb::{Builder, Database};

use self::bytes::Bytes;
pub use self::medium::{Medium, StateFile};
use crate::sync::{Changes, Destination, Record};

/// Bytes of the file that redb may cache in memory.
const CACHE_BYTES: usize = 256 << 10;

/// Store on one medium. The agent's lock excludes other writers.
#[derive(Debug)]
pub struct LastGoodStore<M = StateFile> {
    medium: M,
    /// `None` before the first commit, and after an error: the next commit copies the file.
    database: Option<Database>,
    /// Records of a removed file, until its replacement has them.
    rescued: Changes,
}

impl<M: Display> Display for LastGoodStore<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.medium, f)
    }
}

impl<M: Medium> LastGoodStore<M> {
    /// Creates a store that opens its file with the first commit.
    pub fn new(medium: M) -> Self {
        Self { medium, database: None, rescued: Changes::default() }
    }

    /// Reads every record from a copy of the file. Changes nothing: a daemon may be writing to it.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or has a format version that this agent does not know.
    pub fn load(&self) -> Result<Vec<Record>> {
        let read = || {
            let Some(copy) = self.medium.copy()? else { return Ok(Vec::new()) };
            let database =
                builder().set_check_integrity_on_open(true).create_with_backend(Bytes::new(copy))?;
            records::read(&database)
        };
        guarded(read).with_context(|| self.medium.to_string())
    }

    /// Reads every claimed destination of an unusable store of any format version: the agent keeps these closed.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn claims(&self) -> Result<Vec<Destination>> {
        let read = || {
            let Some(copy) = self.medium.copy()? else { return Ok(Vec::new()) };
            records::read_claims(&builder().create_with_backend(Bytes::new(copy))?)
        };
        guarded(read).with_context(|| self.medium.to_string())
    }

    /// Applies all changes in one transaction, or none. If the file was removed or replaced meanwhile, first writes
    /// every record there. On success the changes survive a power cut.
    ///
    /// # Errors
    /// The medium refuses; either nothing or everything is stored then.
    pub fn commit(&mut self, changes: &Changes) -> Result<()> {
        let store_name = self.medium.to_string();
        guarded(|| self.try_commit(changes)).context(store_name)?;
        self.medium.reserve();
        Ok(())
    }

    fn try_commit(&mut self, changes: &Changes) -> Result<()> {
        if let Some(removed) = &self.database
            && !self.medium.is_in_place()
        {
            records::read(removed)?.into_iter().for_each(|record| self.rescued.put(record));
            self.database = None;
        }
        // A new copy of the file is written whole, and confirms its content.
        let database = match self.database.take().filter(|_| !changes.confirms()) {
            Some(database) => database,
            None => self.open()?,
        };
        let mut all = self.rescued.clone();
        all.merge(changes.clone());
        records::write(&database, &all)?;
        (self.database, self.rescued) = (Some(database), Changes::default());
        Ok(())
    }

    /// Opens a new copy of the file. The old one may have pages that every process sees and that never reached the
    /// disk: of a commit whose sync failed, which the kernel does not write again, or of a process that was killed
    /// before the sync.
    fn open(&self) -> Result<Database> {
        let bytes = match self.medium.copy()? {
            Some(bytes) => bytes,
            None => {
                // redb creates a file in several steps; only after the last one can it read the file again.
                let new = Bytes::default();
                records::prepare(&builder().create_with_backend(new.clone())?)?;
                new.take()
            }
        };
        self.medium.replace(&bytes)?;
        let database = builder().create_with_backend(self.medium.open()?)?;
        records::ensure_known(&database)?;
        Ok(database)
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Turns panics into errors: redb panics on an invalid page of a damaged file.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(panic) => match panic.downcast::<&str>() {
            Ok(text) => bail!("damaged: {text}"),
            Err(panic) => match panic.downcast::<String>() {
                Ok(text) => bail!("damaged: {text}"),
                Err(panic) => std::panic::resume_unwind(panic),
            },
        },
    }
}
