//! Keeps the kernel equal to the files, look by look. What it sees, and when, is given to it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing::error;

use super::deferred::Deferred;
use super::host::Host;
use super::intake::Intake;
use super::journal::Journal;
use super::machine::{Moment, Plane, Shelf};
use super::trust::Trust;
use crate::bpf::Kernel;
use crate::config::Config;
use crate::files::scan::{Look, Snapshot};
use crate::sync::{Clock, Slot};

/// The time that expiry has reached is kept at least this often.
const KEEP_TIME: SignedDuration = SignedDuration::from_mins(1);

/// So many rule files are read, however few databases there is room for.
const LEAST_FILES: usize = 1024;

/// One host and the files that it follows.
#[derive(Debug)]
pub(super) struct Keeper<K = Kernel, S = Deferred> {
    pub host: Host<K, S>,
    pub journal: Journal,
    pub clock: Clock,
    /// The last look did not get everything into the kernel and onto the disk.
    pub unfinished: bool,
    pub next_expiry: Option<Timestamp>,
    /// Time since boot when the clock last ticked.
    ticked: Duration,
    /// When the time was last kept.
    kept: Timestamp,
    trust: Trust,
    /// Tells the last look from the next.
    seen: Option<[u8; 32]>,
    /// Time since boot at the last look.
    looked: Duration,
}

impl<K: Plane, S: Shelf> Keeper<K, S> {
    /// Starts with what `host` has taken over.
    pub fn new(config: &Config, host: Host<K, S>, journal: Journal, moment: Moment) -> Self {
        let clock = Clock::new(moment.wall, host.taken.high_water());
        Self {
            host,
            journal,
            unfinished: false,
            next_expiry: None,
            ticked: moment.uptime,
            kept: clock.now(),
            clock,
            trust: Trust::new(config.trusted_keys.clone()),
            seen: None,
            looked: moment.uptime,
        }
    }

    /// Looks at the files.
    pub fn scan(&mut self, config: &Config) -> Snapshot {
        let databases = usize::try_from(config.max_databases).unwrap_or(usize::MAX);
        self.trust.scan(&Look {
            rules_dir: &config.rules_dir,
            managed_ranges: &config.managed_ranges,
            known: &self.host.taken.ledger.files,
            most_files: databases.saturating_mul(2).max(LEAST_FILES),
        })
    }

    /// Whether to look now, file events apart.
    pub fn is_due(&mut self, config: &Config, moment: Moment) -> bool {
        let expired = self.next_expiry.is_some_and(|at| at <= self.time(moment));
        expired || self.unfinished || moment.uptime.saturating_sub(self.looked) >= config.rescan_interval
    }

    /// Keeps the time that expiry has reached, when that was not done for a while.
    pub fn keep_time(&mut self) {
        if self.clock.now().duration_since(self.kept) >= KEEP_TIME {
            self.kept = self.clock.now();
            self.host.keep_time(self.kept);
        }
    }

    /// The next look publishes, whatever it sees.
    pub fn forget_look(&mut self) {
        self.seen = None;
    }

    /// Publishes when the files, or the time, say something new; the slots of what is in force anew.
    pub fn look(&mut self, config: &Config, snapshot: Snapshot, moment: Moment) -> Vec<Slot> {
        self.looked = moment.uptime;
        let now = self.time(moment);
        let expired = self.next_expiry.is_some_and(|at| at <= now);
        let seen = snapshot.mark();
        if self.seen == Some(seen) && !expired && !self.unfinished {
            return Vec::new();
        }
        let read = || Intake::read(&snapshot, &config.managed_ranges, &config.limits());
        if self.unfinished
            && let Err(error) = self.host.reread()
        {
            // After a refused write the kernel may hold something else than was noted. What is new waits all the same.
            let intake = read();
            let admission = self.host.taken.judge(intake.candidates, &self.host.live);
            self.journal.detected(&admission.admitted, moment.wall);
            error!(error = format!("{error:#}"), "nothing can be published");
            return Vec::new();
        }
        let mut intake = read();
        let times = intake.candidates.iter().map(|candidate| candidate.rules.generated_at);
        times.for_each(|generated_at| self.clock.confirm(generated_at));
        let now = self.time(moment);
        let admission = self.host.admit(intake.candidates, &snapshot);
        let stale = intake.ranges.map(|ranges| self.host.take_ranges(ranges)).unwrap_or_default();
        if !stale.is_empty() {
            intake.refused.entry(config.managed_ranges.clone()).or_default().extend(stale);
        }
        self.journal.files(&snapshot, intake.refused, intake.warnings, &admission.refused);

        let desired = self.host.desired(now);
        let published = self.host.publish(&desired, now);
        self.unfinished =
            !published.failed.is_empty() || !published.errors.is_empty() || self.host.is_unstored();
        self.journal.published(&published, &desired, &self.host, (&snapshot, moment.wall));
        self.next_expiry = self.host.taken.next_expiry(now);
        self.seen = Some(seen);
        published.applied.keys().filter_map(|id| self.host.live.slot(id)).collect()
    }

    /// The time that expiry goes by.
    fn time(&mut self, moment: Moment) -> Timestamp {
        let elapsed = SignedDuration::try_from(moment.uptime.saturating_sub(self.ticked)).unwrap_or_default();
        self.ticked = moment.uptime;
        self.clock.tick(moment.wall, elapsed)
    }
}
