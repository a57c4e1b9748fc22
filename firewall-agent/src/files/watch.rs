//! Directory events: says when it is worth looking at the files, not what has changed.
//!
//! Directories are watched, not files: a ConfigMap's file is replaced with its inode, and a watch on it dies.

use std::collections::BTreeMap;
use std::ffi::OsStr;
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

/// Time between two attempts to watch what could not be watched.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes of events read at once.
const BUFFER_BYTES: usize = 16 << 10;
/// Most reads before a report: together they hold the kernel's default queue of 16,384 events.
const MAX_READS: usize = 256;

/// The most urgent thing that happened since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A file was made or written to: its writer is probably not done.
    Soon,
    /// A file is whole (moved here, or closed by its writer) or gone; or events may have been lost.
    Now,
}

/// Watches directories, also while they are not there.
#[derive(Debug)]
pub struct Watcher {
    /// Absolute.
    dirs: Vec<PathBuf>,
    /// `None` after an error, until `retry_at`.
    queue: Option<AsyncFd<Inotify>>,
    /// Asks the kernel for a queue.
    make: fn() -> io::Result<AsyncFd<Inotify>>,
    retry_at: Instant,
    /// Each directory, and its parent or the nearest above that is there.
    watched: BTreeMap<PathBuf, WatchDescriptor>,
    /// The last error, until it is over.
    problem: Option<String>,
}

impl Watcher {
    /// Watches each of `dirs`. One that is not there, or cannot be watched, is tried again as long as
    /// [`Self::changed`] is waited for. Names that start with one dot are not looked at; with two, as in a ConfigMap
    /// volume, they are. Without an event queue, as when the user has all that `fs.inotify.max_user_instances` allows, a
    /// new one is asked for every second; [`Self::problem`] names the error until then.
    ///
    /// # Errors
    /// A path is relative and the working directory is gone.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn new(dirs: &[PathBuf]) -> Result<Self> {
        Self::with(dirs, queue)
    }

    fn with(dirs: &[PathBuf], make: fn() -> io::Result<AsyncFd<Inotify>>) -> Result<Self> {
        // An empty path, the parent of a bare file name, is the working directory.
        let absolute = |dir: &PathBuf| absolute(Path::new(".").join(dir));
        let mut watcher = Self {
            dirs: dirs
                .iter()
                .map(absolute)
                .collect::<io::Result<_>>()
                .context("working directory is unknown")?,
            queue: None,
            make,
            retry_at: Instant::now(),
            watched: BTreeMap::new(),
            problem: None,
        };
        watcher.rewatch();
        Ok(watcher)
    }

    /// The reason why changes are seen late, by the rescan only: no event queue, or a directory that cannot be watched.
    /// `None` as soon as every change is an event again. Never because a directory is not there.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Waits until something changed. What changes after this returns is reported by the next call, so a look at the
    /// files in between misses nothing. May be dropped and called again at any time.
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

    /// Watches what can be watched now. Whether that is something new, where events may have been missed.
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
                    problem = Some(format!("{}: cannot be watched: {error}{limit}", path.display()));
                }
                false
            }
        };
        for dir in &self.dirs {
            // From above, so that a directory made meanwhile is either watched or an event.
            dir.ancestors().skip(1).find(|above| watch(above));
            watch(dir);
        }
        for (path, descriptor) in &self.watched {
            if !watched.values().any(|kept| kept == descriptor) {
                debug!(path = %path.display(), "no longer watched");
                // The kernel has removed it already when the directory is gone.
                let _ = watches.remove(descriptor.clone());
            }
        }
        let is_new = watched.iter().any(|(path, descriptor)| self.watched.get(path) != Some(descriptor));
        self.watched = watched;
        self.problem = problem;
        is_new
    }

    /// The events until now that matter; `None` when there were none for a while.
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
        self.problem = Some(format!("file events cannot be received: {error}{limit}"));
        self.queue = None;
        self.watched.clear();
        self.retry_at = Instant::now() + RETRY;
    }
}

/// The limit that an error stems from, for a message; empty for other errors.
fn limit_of(error: &io::Error, limit: &str) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENOSPC) => format!(": {limit} is reached"),
        _ => String::new(),
    }
}

fn queue() -> io::Result<AsyncFd<Inotify>> {
    // SAFETY: an `Inotify` keeps one file descriptor open from its making until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(Inotify::init()?, Interest::READABLE) }?)
}

fn mask() -> WatchMask {
    let files = WatchMask::CREATE | WatchMask::MODIFY | WatchMask::CLOSE_WRITE | WatchMask::ATTRIB;
    let names = WatchMask::MOVE | WatchMask::DELETE;
    files | names | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR
}

/// Reads what has happened.
///
/// # Errors
/// Nothing has (`WouldBlock`), or the queue is broken.
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

/// Whether an event can be about a watched directory or a file in it.
fn concerns(dirs: &[PathBuf], watched: &BTreeMap<PathBuf, WatchDescriptor>, event: &Event<&OsStr>) -> bool {
    let lost = event.mask.contains(EventMask::Q_OVERFLOW);
    let mut places = watched.iter().filter(|(_, descriptor)| **descriptor == event.wd).map(|(path, _)| path);
    lost || places.any(|place| match event.name {
        None => true,
        Some(name) => dirs.iter().any(|dir| {
            let inside = dir == place && !is_hidden(name);
            inside || dir.starts_with(place.join(name))
        }),
    })
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") && !name.as_bytes().starts_with(b"..")
}

fn urgency(mask: EventMask) -> Change {
    if mask.intersects(EventMask::CREATE | EventMask::MODIFY) { Change::Soon } else { Change::Now }
}

#[cfg(test)]
mod tests;
