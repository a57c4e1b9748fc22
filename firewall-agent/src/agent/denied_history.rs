//! Memory of refused packets beyond the kernel's table: a thread reads the table each minute, and adds its growth to the
//! summary of the hour.
//!
//! No packet and no publish waits for the thread. Growth counts as contained only after its file is written, so the next
//! reading has what the disk refused, unless the kernel evicts the entry before.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use tracing::{info, warn};

use super::denied_period::{by_hour, contained_in, kernel_entries};
use crate::bpf::Kernel;
use crate::config::Config;
use crate::files::hourly_files::{Hour, HourlyFiles};
use crate::host::boot::boot_id;
use crate::status::refusals::{Contained, HourSummary, KernelEntry};

/// Time between two readings.
const EVERY: Duration = Duration::from_mins(1);
/// Longest wait for the last reading when the process ends.
const LEAVE: Duration = Duration::from_secs(1);
/// Hours that share the room: a flood of one hour leaves room for a day.
const SHARE: u64 = 24;

/// Handle of the thread. The drop waits for a last reading.
#[derive(Debug)]
pub(super) struct DeniedHistory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The time by which rules expire, in seconds: a wrong wall clock must not make the memory old.
    trusted: AtomicI64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    leaving: bool,
    done: bool,
}

impl DeniedHistory {
    /// Starts the thread, which reads the kernel's table at once; `trusted` is the time by which rules expire.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(config: &Config, trusted: Timestamp) -> Result<Self> {
        let shared = Arc::new(Shared {
            trusted: AtomicI64::new(trusted.as_second()),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let (inner, recorder) = (Arc::clone(&shared), Recorder::new(config));
        let thread = thread::Builder::new().name("denied".to_owned());
        thread
            .spawn(move || inner.work(recorder))
            .context("cannot start the thread that remembers refused packets")?;
        Ok(Self { shared })
    }

    /// Updates the time by which rules expire.
    pub fn set_time(&self, trusted: Timestamp) {
        self.shared.trusted.store(trusted.as_second(), Ordering::Relaxed);
    }
}

impl Drop for DeniedHistory {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.leaving = true;
        self.shared.changed.notify_all();
        // A thread that hangs on a disk is left to the end of the process.
        let _ = self.shared.changed.wait_timeout_while(state, LEAVE, |state| !state.done);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, mut recorder: Recorder) {
        let (mut problem, mut is_last) = (None, false);
        loop {
            let trusted =
                Timestamp::from_second(self.trusted.load(Ordering::Relaxed)).unwrap_or(Timestamp::MIN);
            let recorded = recorder.record(Timestamp::now(), trusted).map_err(|error| format!("{error:#}"));
            match (&problem, recorded.err()) {
                (before, Some(error)) if before.as_ref() != Some(&error) => {
                    warn!(error, "refused packets not remembered");
                    problem = Some(error);
                }
                (Some(_), None) => {
                    info!("refused packets remembered again");
                    problem = None;
                }
                _ => {}
            }
            let state = self.lock();
            if is_last {
                let mut state = state;
                state.done = true;
                self.changed.notify_all();
                return;
            }
            let waited = self.changed.wait_timeout_while(state, EVERY, |state| !state.leaving);
            is_last = waited.unwrap_or_else(PoisonError::into_inner).0.leaving;
        }
    }
}

/// The kernel's table and the memory.
struct Recorder {
    bpffs_dir: PathBuf,
    kernel: Option<Kernel>,
    memory: Memory,
}

/// The files and the counts that they contain.
struct Memory {
    files: HourlyFiles,
    days: u32,
    most_bytes: u64,
    /// `None` until the files are read.
    contained: Option<Contained>,
}

impl Recorder {
    fn new(config: &Config) -> Self {
        let memory = Memory {
            files: HourlyFiles::new(&config.state_dir),
            days: config.denied_history_days,
            most_bytes: u64::from(config.denied_history_mib) << 20,
            contained: None,
        };
        Self { bpffs_dir: config.bpffs_dir.clone(), kernel: None, memory }
    }

    /// Reads the kernel's table and remembers its growth.
    fn record(&mut self, now: Timestamp, trusted: Timestamp) -> Result<()> {
        // These maps are read for as long as the process runs, whatever becomes of their pins.
        let kernel = match self.kernel.take() {
            Some(kernel) => kernel,
            None => Kernel::open(&self.bpffs_dir)?,
        };
        let entries = kernel_entries(self.kernel.insert(kernel))?;
        self.memory.add(&entries, &boot_id()?, now, trusted)
    }
}

impl Memory {
    /// Adds the growth of the kernel's entries to the summaries. The files are pruned by the earlier of two times: the
    /// wall clock and the time by which rules expire.
    fn add(&mut self, entries: &[KernelEntry], boot: &str, now: Timestamp, trusted: Timestamp) -> Result<()> {
        let contained = match &mut self.contained {
            Some(contained) => contained,
            None => {
                let (contained, skipped) = contained_in(&self.files, boot)?;
                skipped.iter().for_each(|problem| warn!(problem, "summary of refused packets skipped"));
                self.contained.insert(contained)
            }
        };
        let growth = contained.growth(entries);
        let hours = self.files.hours()?;
        let from = |hour: Hour| if hours.is_empty() { now } else { hour.start() };
        for (hour, growth) in by_hour(growth, now, hours.keys().next().copied()) {
            if growth.is_empty() && hours.contains_key(&hour) {
                continue;
            }
            let mut summary = read_or_new(&self.files, hour, from(hour), boot);
            summary.add(&growth, now, boot);
            self.files.write(hour, &summary.encode(self.most_bytes / SHARE)?)?;
            contained.advance(&growth);
        }
        contained.retain(entries, now);
        self.files.prune(Hour::of(now.min(trusted)).days_before(self.days), self.most_bytes)
    }
}

/// The summary of an hour, from its file if that is usable.
fn read_or_new(files: &HourlyFiles, hour: Hour, from: Timestamp, boot: &str) -> HourSummary {
    let read = files.read(hour).and_then(|bytes| bytes.map(|bytes| HourSummary::parse(&bytes)).transpose());
    let read = read.unwrap_or_else(|error| {
        let (file, error) = (files.path(hour), format!("{error:#}"));
        warn!(file = %file.display(), error, "summary of refused packets replaced");
        None
    });
    read.unwrap_or_else(|| HourSummary::new(from, boot))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::ToSpan as _;

    use super::*;
    use crate::status::refusals::{EntryId, RefusedKind};

    const BOOT: &str = "boot";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn entry(source: &str, packets: u64, last_seen: &str) -> KernelEntry {
        KernelEntry {
            kind: RefusedKind {
                source: Some(source.parse().unwrap()),
                database_id: None,
                endpoint: "192.0.2.10:5432/tcp".to_owned(),
                reason: "closed".to_owned(),
                class: "syn".to_owned(),
                interface: None,
            },
            interface_name: None,
            id: EntryId { cpu: 0, first_seen_ns: 1 },
            packets,
            first_seen: at("2026-08-21T00:00:00Z"),
            last_seen: at(last_seen),
        }
    }

    fn memory(dir: &Path) -> Memory {
        Memory { files: HourlyFiles::new(dir), days: 7, most_bytes: 16 << 20, contained: None }
    }

    /// Packets by hour, as the files have them.
    fn stored(dir: &Path) -> Vec<(String, u64)> {
        let files = HourlyFiles::new(dir);
        let hours = files.hours().unwrap().into_keys().map(|hour| {
            let summary = HourSummary::parse(&files.read(hour).unwrap().unwrap()).unwrap();
            (hour.to_string(), summary.refusals().map(|refusal| refusal.packets).sum())
        });
        hours.collect()
    }

    fn expected(hours: &[(&str, u64)]) -> Vec<(String, u64)> {
        hours.iter().map(|(hour, packets)| ((*hour).to_owned(), *packets)).collect()
    }

    #[test]
    fn growth_is_in_the_hour_of_its_last_packet_and_quiet_hours_have_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = memory(dir.path());
        let mut add =
            |entries: &[KernelEntry], now: &str| memory.add(entries, BOOT, at(now), at(now)).unwrap();
        // The first memory of a host begins with the whole table.
        add(&[entry("198.51.100.9", 5, "2026-08-20T03:00:00Z")], "2026-08-21T15:10:00Z");
        assert_eq!(stored(dir.path()), expected(&[("2026-08-21T15", 5)]));
        add(&[entry("198.51.100.9", 7, "2026-08-21T15:59:58Z")], "2026-08-21T16:00:30Z");
        assert_eq!(stored(dir.path()), expected(&[("2026-08-21T15", 7), ("2026-08-21T16", 0)]));
    }

    #[test]
    fn a_clock_that_goes_back_or_ahead_loses_no_hour() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = memory(dir.path());
        let trusted = at("2026-08-21T15:10:00Z");
        let mut add = |packets, now: &str| {
            memory.add(&[entry("198.51.100.9", packets, now)], BOOT, at(now), trusted).unwrap();
        };
        add(5, "2026-08-21T15:10:00Z");
        add(7, "2038-01-01T00:10:00Z");
        add(8, "2026-08-21T14:10:00Z");
        add(9, "2026-08-21T15:20:00Z");
        let all = [("2026-08-21T14", 1), ("2026-08-21T15", 6), ("2038-01-01T00", 2)];
        assert_eq!(stored(dir.path()), expected(&all), "an untrusted clock makes no hour old");
        // Control: a trusted one does.
        memory.add(&[], BOOT, at("2038-01-01T00:20:00Z"), at("2038-01-01T00:20:00Z")).unwrap();
        assert_eq!(stored(dir.path()), expected(&[("2038-01-01T00", 2)]));
    }

    #[test]
    fn growth_that_the_disk_refuses_is_in_the_next_reading() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = memory(dir.path());
        let now = "2026-08-21T15:10:00Z";
        for (packets, is_full) in [(5, false), (8, true), (9, false)] {
            // A directory in the place of the spare file.
            let mut spare = tempfile::Builder::new();
            spare.prefix("new").rand_bytes(0);
            let obstacle = is_full.then(|| spare.tempdir_in(dir.path().join("denied")).unwrap());
            let added = memory.add(&[entry("198.51.100.9", packets, now)], BOOT, at(now), at(now));
            assert_eq!(added.is_err(), is_full, "{added:?}");
            drop(obstacle);
        }
        assert_eq!(stored(dir.path()), expected(&[("2026-08-21T15", 9)]));
    }

    #[test]
    fn a_torn_hour_is_replaced_and_the_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = ("2026-08-21T15:10:00Z", "2026-08-21T16:10:00Z");
        let mut before = memory(dir.path());
        before.add(&[entry("198.51.100.9", 5, first)], BOOT, at(first), at(first)).unwrap();
        before.add(&[entry("198.51.100.9", 6, second)], BOOT, at(second), at(second)).unwrap();
        let files = HourlyFiles::new(dir.path());
        files.write(Hour::of(at(second)), b"{\"version\":1,\"fr").unwrap();
        let mut after = memory(dir.path());
        after.add(&[entry("198.51.100.9", 8, second)], BOOT, at(second), at(second)).unwrap();
        // The packet that only the torn file had counted counts again.
        assert_eq!(stored(dir.path()), expected(&[("2026-08-21T15", 5), ("2026-08-21T16", 3)]));
    }

    #[test]
    fn a_restart_counts_no_packet_twice_and_old_entries_do_not_return() {
        let dir = tempfile::tempdir().unwrap();
        let mut now = at("2026-08-21T15:10:00Z");
        let old = entry("198.51.100.9", 5, "2026-08-21T15:00:00Z");
        memory(dir.path()).add(std::slice::from_ref(&old), BOOT, now, now).unwrap();
        for _ in 0..9 {
            now += 24.hours();
            memory(dir.path()).add(std::slice::from_ref(&old), BOOT, now, now).unwrap();
        }
        assert!(stored(dir.path()).iter().all(|(_, packets)| *packets == 0), "{:?}", stored(dir.path()));
        assert_eq!(stored(dir.path()).len(), 8);
        // Control: it counts as soon as it grows again.
        let again = entry("198.51.100.9", 6, "2026-08-30T15:00:00Z");
        memory(dir.path()).add(&[again], BOOT, now, now).unwrap();
        assert!(stored(dir.path()).iter().any(|(_, packets)| *packets > 0));
    }
}
