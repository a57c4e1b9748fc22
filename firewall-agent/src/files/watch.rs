//! Directory events: report that a scan is worthwhile, not which file changed.
//!
//! It watches directories, not files: a ConfigMap's file is replaced with its inode, and a watch on it dies.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use anyhow::{Context as _, Result};
use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::read::signature_path;

/// Time between two attempts to add a failed watch.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes of events per read.
const BUFFER_BYTES: usize = 16 << 10;
/// Most reads before a report: together they cover the kernel's default queue of 16,384 events.
const MAX_READS: usize = 256;

/// Most urgent event since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A file was created or written to: its writer is probably not done.
    Soon,
    /// A file is complete (moved here, or closed by its writer) or gone; or events may have been lost.
    Now,
}

/// A directory to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedDir {
    path: PathBuf,
    /// Name of the only file that is read there; `None` for every file.
    file: Option<OsString>,
}

impl WatchedDir {
    /// All files of a directory.
    #[must_use]
    pub fn all(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None }
    }

    /// A file, its signature, and the links of a ConfigMap that it can be behind.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        let file = path.file_name().map(ToOwned::to_owned);
        Self { path: path.parent().map(Into::into).unwrap_or_default(), file }
    }

    fn absolute(&self) -> io::Result<Self> {
        // An empty path, the parent of a bare file name, is the working directory.
        Ok(Self { path: absolute(Path::new(".").join(&self.path))?, file: self.file.clone() })
    }

    /// Returns `true` if an entry of the directory with this name may be, or lead to, a file that is read.
    fn concerns(&self, name: &OsStr) -> bool {
        let name = name.as_bytes();
        match &self.file {
            _ if name.starts_with(b"..") => true,
            None => !name.starts_with(b"."),
            Some(file) => {
                [file, signature_path(Path::new(file)).as_os_str()].map(OsStr::as_bytes).contains(&name)
            }
        }
    }
}

/// Watches directories, also while they do not exist.
#[derive(Debug)]
pub struct Watcher {
    /// Absolute.
    dirs: Vec<WatchedDir>,
    /// `None` after an error, until `retry_at`.
    queue: Option<AsyncFd<Inotify>>,
    /// Creates the event queue.
    make: fn() -> io::Result<AsyncFd<Inotify>>,
    retry_at: Instant,
    /// Each directory, and its parent or the closest existing ancestor.
    watched: BTreeMap<PathBuf, WatchDescriptor>,
    /// The last error, until it is over.
    problem: Option<String>,
}

impl Watcher {
    /// Watches each of `dirs`. Retries one that does not exist, or cannot be watched, during [`Self::changed`]. Ignores
    /// names that start with one dot, but not with two, as in a ConfigMap volume. Without an event queue, as when the
    /// user has reached `fs.inotify.max_user_instances`, it requests a new one every second; [`Self::problem`] names
    /// the error until then.
    ///
    /// # Errors
    /// A path is relative and the working directory is gone.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn new(dirs: &[WatchedDir]) -> Result<Self> {
        Self::with(dirs, queue)
    }

    fn with(dirs: &[WatchedDir], make: fn() -> io::Result<AsyncFd<Inotify>>) -> Result<Self> {
        let dirs: io::Result<Vec<_>> = dirs.iter().map(WatchedDir::absolute).collect();
        let mut watcher = Self {
            dirs: dirs.context("cannot read the working directory")?,
            queue: None,
            make,
            retry_at: Instant::now(),
            watched: BTreeMap::new(),
            problem: None,
        };
        watcher.rewatch();
        Ok(watcher)
    }

    /// Reason why only the rescan finds changes: no event queue, or a directory that cannot be watched. `None` as soon
    /// as every change is an event again. A missing directory is not a reason.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Waits for a change. The next call reports changes after the return: a scan in between misses nothing.
    /// Cancel-safe.
    pub async fn changed(&mut self) -> Change {
        loop {
            if self.rewatch() {
                return Change::Now;
            }
            match self.events().await {
                Ok(Some(change)) => return change,
                Ok(None) => {}
                Err(error) => {
                    self.lose(&error);
                    return Change::Now;
                }
            }
        }
    }

    /// Watches every directory that can be watched. Returns `true` if that adds a watch: events may have been missed.
    fn rewatch(&mut self) -> bool {
        if self.queue.is_none() && self.retry_at <= Instant::now() {
            match (self.make)() {
                Ok(queue) => self.queue = Some(queue),
                Err(error) => self.lose(&error),
            }
        }
        let Some(queue) = &self.queue else { return false };
        let mut watches = queue.get_ref().watches();
        let mut watched = BTreeMap::new();
        let mut problem = None;
        let mut watch = |path: &Path| match watches.add(path, mask()) {
            Ok(descriptor) => {
                watched.insert(path.to_owned(), descriptor);
                true
            }
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
                    let limit = limit_of(&error, "fs.inotify.max_user_watches");
                    problem = Some(format!("cannot watch {}: {error}{limit}", path.display()));
                }
                false
            }
        };
        for dir in &self.dirs {
            // Ancestors first: a directory created meanwhile is either watched or an event.
            dir.path.ancestors().skip(1).find(|above| watch(above));
            watch(&dir.path);
        }
        for (path, descriptor) in &self.watched {
            if !watched.values().any(|current| current == descriptor) {
                debug!(path = %path.display(), "directory no longer watched");
                // The kernel has already removed the watch if the directory is gone.
                let _ = watches.remove(descriptor.clone());
            }
        }
        let is_new = watched.iter().any(|(path, descriptor)| self.watched.get(path) != Some(descriptor));
        self.watched = watched;
        self.problem = problem;
        is_new
    }

    /// Waits up to [`RETRY`] for events and returns the most urgent change; `None` if no event is relevant.
    async fn events(&mut self) -> io::Result<Option<Change>> {
        let Some(queue) = &mut self.queue else {
            sleep_until(self.retry_at).await;
            return Ok(None);
        };
        let Ok(ready) = timeout(RETRY, queue.readable_mut()).await else { return Ok(None) };
        let concerns = |event: &Event<&OsStr>| concerns(&self.dirs, &self.watched, event);
        match ready?.try_io(|queue| drain(queue.get_mut(), concerns)) {
            Ok(change) => change,
            Err(_nothing_there) => Ok(None),
        }
    }

    fn lose(&mut self, error: &io::Error) {
        let limit = limit_of(error, "fs.inotify.max_user_instances, or the limit of open files,");
        self.problem = Some(format!("cannot receive file events: {error}{limit}"));
        self.queue = None;
        self.watched.clear();
        self.retry_at = Instant::now() + RETRY;
    }
}

/// Limit that caused the error, for a message; empty for other errors.
fn limit_of(error: &io::Error, limit: &str) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENOSPC) => format!(": {limit} is reached"),
        _ => String::new(),
    }
}

fn queue() -> io::Result<AsyncFd<Inotify>> {
    // SAFETY: an `Inotify` keeps one file descriptor open from its creation until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(Inotify::init()?, Interest::READABLE) }?)
}

fn mask() -> WatchMask {
    let files = WatchMask::CREATE | WatchMask::MODIFY | WatchMask::CLOSE_WRITE | WatchMask::ATTRIB;
    let names = WatchMask::MOVE | WatchMask::DELETE;
    files | names | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR
}

/// Reads the queued events and returns the most urgent change of those that pass `concerns`.
///
/// # Errors
/// No event is queued (`WouldBlock`), or the queue is broken.
fn drain(queue: &mut Inotify, concerns: impl Fn(&Event<&OsStr>) -> bool) -> io::Result<Option<Change>> {
    let mut buffer = [0; BUFFER_BYTES];
    let mut most = None;
    for read in 0..MAX_READS {
        match queue.read_events(&mut buffer) {
            Ok(events) => most = most.max(events.filter(&concerns).map(|event| urgency(event.mask)).max()),
            Err(error) if error.kind() == ErrorKind::WouldBlock && read > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(most)
}

/// Returns `true` if an event may be about a watched directory or a file that is read in it.
fn concerns(
    dirs: &[WatchedDir],
    watched: &BTreeMap<PathBuf, WatchDescriptor>,
    event: &Event<&OsStr>,
) -> bool {
    let lost = event.mask.contains(EventMask::Q_OVERFLOW);
    let mut watched_dirs =
        watched.iter().filter(|(_, descriptor)| **descriptor == event.wd).map(|(path, _)| path);
    lost || watched_dirs.any(|watched_dir| match event.name {
        None => true,
        Some(name) => dirs.iter().any(|dir| {
            let is_inside = dir.path == *watched_dir && dir.concerns(name);
            is_inside || dir.path.starts_with(watched_dir.join(name))
        }),
    })
}

fn urgency(mask: EventMask) -> Change {
    if mask.intersects(EventMask::CREATE | EventMask::MODIFY) { Change::Soon } else { Change::Now }
}

#[cfg(test)]
mod tests;
