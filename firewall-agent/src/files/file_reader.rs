//! Thread that reads the pushed files: a directory that hangs (NFS, FUSE) delays nothing else.

use std::collections::BTreeSet;
use std::fmt::{self, Debug, Formatter};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::read_cache::{ReadCache, Reading};
use super::scan::{ScanRequest, ScannedFiles};
use super::signature_verifier::SignatureVerifier;
use crate::config::Config;

/// Paths to read from, and bounds.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub rules_dir: PathBuf,
    pub managed_ranges: PathBuf,
    /// Empty for none.
    pub blocked_ranges: PathBuf,
    /// Most rule files to read.
    pub most_files: usize,
}

impl Inputs {
    /// The inputs of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            rules_dir: config.rules_dir.clone(),
            managed_ranges: config.managed_ranges.clone(),
            blocked_ranges: config.blocked_ranges.clone().unwrap_or_default(),
            most_files: config.most_files,
        }
    }
}

/// Request for one scan.
struct Order {
    /// Rule files that were accepted before, read first.
    known: BTreeSet<PathBuf>,
    reading: Reading,
}

/// Reads the files on request, one scan at a time.
pub struct FileReader {
    orders: Sender<Order>,
    snapshots: UnboundedReceiver<ScannedFiles>,
    /// Start of the scan under way.
    busy_since: Option<Instant>,
    /// Next scan, requested since the one under way began.
    again: Option<Order>,
}

impl FileReader {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(inputs: Inputs, verifier: SignatureVerifier) -> Result<Self> {
        let (orders, received) = channel();
        let (sender, snapshots) = unbounded_channel();
        let thread = thread::Builder::new().name("files".to_owned());
        thread
            .spawn(move || read(&inputs, verifier, &received, &sender))
            .context("cannot start the thread that reads files")?;
        Ok(Self { orders, snapshots, busy_since: None, again: None })
    }

    /// Requests a scan that sees everything that is visible now. `known`: rule files that were accepted before, read
    /// first.
    pub fn request(&mut self, known: BTreeSet<PathBuf>, reading: Reading) {
        if self.busy_since.is_some() {
            let waiting = self.again.as_ref().map_or(reading, |order| order.reading);
            self.again = Some(Order { known, reading: reading.max(waiting) });
        } else if self.orders.send(Order { known, reading }).is_ok() {
            self.busy_since = Some(Instant::now());
        }
    }

    /// Waits for the next snapshot; forever if none was requested.
    pub async fn snapshot(&mut self) -> ScannedFiles {
        match self.snapshots.recv().await {
            Some(snapshot) => {
                self.end();
                snapshot
            }
            None => std::future::pending().await,
        }
    }

    /// Waits for the requested snapshot, but no longer than `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Option<ScannedFiles> {
        let started = Instant::now();
        loop {
            if let Ok(snapshot) = self.snapshots.try_recv() {
                self.end();
                return Some(snapshot);
            }
            if self.busy_since.is_none() || started.elapsed() >= timeout {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(&mut self) {
        self.busy_since = None;
        if let Some(Order { known, reading }) = self.again.take() {
            self.request(known, reading);
        }
    }

    /// Time since the scan under way was requested; `None` if there is none.
    #[must_use]
    pub fn busy_for(&self) -> Option<Duration> {
        self.busy_since.map(|since| since.elapsed())
    }
}

impl Debug for FileReader {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReader").field("busy_since", &self.busy_since).finish_non_exhaustive()
    }
}

fn read(
    inputs: &Inputs,
    mut verifier: SignatureVerifier,
    orders: &Receiver<Order>,
    snapshots: &UnboundedSender<ScannedFiles>,
) {
    let mut cache = ReadCache::default();
    while let Ok(Order { known, reading }) = orders.recv() {
        let request = ScanRequest {
            rules_dir: &inputs.rules_dir,
            managed_ranges: &inputs.managed_ranges,
            blocked_ranges: &inputs.blocked_ranges,
            known: &known,
            most_files: inputs.most_files,
        };
        cache.begin(reading);
        if snapshots.send(verifier.scan(&request, &mut cache)).is_err() {
            return;
        }
    }
}
