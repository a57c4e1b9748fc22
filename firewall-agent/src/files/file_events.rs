//! Thread that watches the directories of the pushed files: setting up a watch on a hanging directory would block the
//! event loop.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::watch::{Change, WatchedDir, Watcher};

/// Longest delay of the report of a new problem.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Stream of changes in the watched directories.
pub struct FileEvents {
    changes: UnboundedReceiver<Change>,
    problem: Arc<Mutex<Option<String>>>,
}

impl FileEvents {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(dirs: Vec<WatchedDir>) -> Result<Self> {
        let (sender, changes) = unbounded_channel();
        let problem = Arc::<Mutex<Option<String>>>::default();
        let reported = Arc::clone(&problem);
        let report = move |problem: Option<String>| {
            *reported.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        };
        let thread = thread::Builder::new().name("events".to_owned());
        let work = move || {
            if let Err(error) = watch(&dirs, &sender, &report) {
                report(Some(format!("no file events: {error:#}")));
            }
        };
        thread.spawn(work).context("cannot start the thread that watches files")?;
        Ok(Self { changes, problem })
    }

    /// Waits for the next change; returns the most urgent of those already queued.
    pub async fn changed(&mut self) -> Change {
        let Some(mut change) = self.changes.recv().await else { return std::future::pending().await };
        while let Ok(next) = self.changes.try_recv() {
            change = change.max(next);
        }
        change
    }

    /// Reason why only the rescan finds changes; `None` while every change is an event.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Debug for FileEvents {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileEvents").finish_non_exhaustive()
    }
}

/// Watches until the receiver is dropped.
fn watch(
    dirs: &[WatchedDir],
    changes: &UnboundedSender<Change>,
    report: &impl Fn(Option<String>),
) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut watcher = Watcher::new(dirs)?;
        // For changes before the first watch.
        let _ = changes.send(Change::Now);
        while !changes.is_closed() {
            if let Ok(change) = timeout(REPORT_INTERVAL, watcher.changed()).await {
                let _ = changes.send(change);
            }
            report(watcher.problem().map(ToOwned::to_owned));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file may come between the first scan and the watch.
    #[tokio::test]
    async fn start_reports_a_change_and_then_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = FileEvents::start(vec![WatchedDir::all(dir.path())]).unwrap();
        assert_eq!(timeout(Duration::from_secs(20), events.changed()).await, Ok(Change::Now));
        assert!(timeout(2 * REPORT_INTERVAL, events.changed()).await.is_err(), "the control");
        assert_eq!(events.problem(), None);
    }
}
