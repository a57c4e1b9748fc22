//! Thread that writes `status.json`: a slow disk delays nothing else. Of several contents only the newest is written.

use std::fmt::{self, Debug, Formatter};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::fcntl::{FallocateFlags, fallocate};

/// Pause after a refused write.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for the last content when the process ends.
const LEAVE: Duration = Duration::from_secs(2);
/// Disk space, in bytes, reserved for the next content beyond the size of the last: the write succeeds on a full disk.
const RESERVE_BYTES: usize = 64 << 10;

/// Status file, written in the background.
pub struct StatusFile {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Content that no write has begun on; `Some(None)` removes the file.
    waiting: Option<Option<Vec<u8>>>,
    is_writing: bool,
    error: Option<String>,
    leaving: bool,
}

impl StatusFile {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(path: PathBuf) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let inner = Arc::clone(&shared);
        let thread = thread::Builder::new().name("status".to_owned());
        thread.spawn(move || inner.work(&path)).context("cannot start the thread that writes the status")?;
        Ok(Self { shared })
    }

    /// Replaces the content; `None` removes the file, and no reader uses an old status.
    pub fn put(&self, content: Option<Vec<u8>>) {
        self.shared.lock().waiting = Some(content);
        self.shared.changed.notify_all();
    }

    /// Error of the last write; `None` if it succeeded.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.shared.lock().error.clone()
    }

    /// Waits until the newest content is written, but no longer than `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let is_pending =
            |state: &mut State| (state.waiting.is_some() || state.is_writing) && state.error.is_none();
        let _ = self.shared.changed.wait_timeout_while(self.shared.lock(), timeout, is_pending);
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        self.flush(LEAVE);
        self.shared.lock().leaving = true;
        self.shared.changed.notify_all();
    }
}

impl Debug for StatusFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusFile").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, path: &Path) {
        while let Some(content) = self.next() {
            let written = match &content {
                // A stale status must not stay; and its removal may free enough space.
                Some(bytes) => {
                    replace(path, bytes).or_else(|_| remove(path).and_then(|()| replace(path, bytes)))
                }
                None => remove(path),
            };
            let mut state = self.lock();
            state.is_writing = false;
            state.error = written.err().map(|error| format!("cannot write {}: {error}", path.display()));
            if state.error.is_some() && state.waiting.is_none() {
                state.waiting = Some(content);
            }
            self.changed.notify_all();
            if state.error.is_some() {
                let _ = self.changed.wait_timeout_while(state, PAUSE, |state| !state.leaving);
            }
        }
    }

    fn next(&self) -> Option<Option<Vec<u8>>> {
        let mut state = self.lock();
        loop {
            if state.leaving {
                return None;
            }
            if let Some(content) = state.waiting.take() {
                state.is_writing = true;
                return Some(content);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Replaces the content, whole and synced, by a spare file with the space that the previous call reserved.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let spare = path.with_extension("json.new");
    let open = || File::options().write(true).create(true).truncate(false).mode(0o600).open(&spare);
    let mut file = open()?;
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    file.sync_all()?;
    fs::rename(&spare, path)?;
    if let (Ok(next), Ok(bytes)) = (open(), i64::try_from(content.len() + RESERVE_BYTES)) {
        // Without support or space, the next call tries again.
        let _ = fallocate(next.as_fd(), FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, bytes);
    }
    Ok(())
}

/// Removes the file, if it exists.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn next_content_has_its_space_in_advance() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        for content in ["first", "the second, which is longer", "third"] {
            replace(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            let spare = fs::metadata(path.with_extension("json.new")).unwrap();
            let allocated = spare.blocks() * 512;
            assert!(spare.len() == 0 && allocated >= RESERVE_BYTES as u64, "{allocated} bytes are allocated");
        }
    }
}
