//! Reading of the rule counters for the store: each minute, in portions, with a commit each five minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use tracing::debug;

use super::read_back::ReadBack;
use super::reconcile::Reconciler;
use crate::host::clock::Moment;
use crate::rules::DatabaseId;
use crate::sync::{Changes, Counted, DatabaseSlot, Live, PersistedState, RuleKey, StateStore};

/// Time between the starts of two readings.
const EVERY: Duration = Duration::from_mins(1);
/// Time between two commits. The first hit of a rule is committed at the end of its reading.
const COMMIT: Duration = Duration::from_mins(5);
/// Counters to read at a tick, at least those of one database: about a millisecond.
const PORTION: usize = 256;
/// Longest time between the last mark of the clock and a boot that counts as a reboot without a gap.
const GAP: SignedDuration = SignedDuration::from_mins(10);

/// Progress of the readings.
#[derive(Debug, Default)]
pub(super) struct HitReading {
    /// Time since boot at the start of the last reading.
    started: Option<Duration>,
    /// The next database of a reading under way.
    next: Option<DatabaseSlot>,
    /// Time since boot at the last commit.
    committed: Duration,
    /// Databases with counts that are not committed.
    uncommitted: BTreeSet<DatabaseId>,
    has_first_hit: bool,
}

/// Continues the stored counts with the kernel's counters, at a start.
pub(super) fn resume_hits(
    persisted: &mut PersistedState,
    live: &Live,
    counters: &str,
    moment: Moment,
    changes: &mut Changes,
) {
    let uptime = SignedDuration::try_from(moment.uptime).unwrap_or_default();
    let is_gapless = persisted.clock_mark().is_some_and(|mark| {
        let boot = moment.wall.checked_sub(uptime).unwrap_or(Timestamp::MAX);
        boot.duration_since(mark) <= GAP
    });
    let hits = persisted.hits_mut();
    hits.resume(counters, is_gapless, moment.wall, changes);
    hits.drop_uncounted(live, changes);
    hits.begin(live, |_| true, moment.wall, changes);
}

impl<D: ReadBack, S: StateStore> Reconciler<D, S> {
    /// Reads the next portion of the counters, if one is due; all of them when the process ends.
    pub(super) fn read_hits(&mut self, ends: bool) {
        let (uptime, reading) = (self.ticked(), &mut self.hit_reading);
        if ends {
            reading.next = Some(DatabaseSlot(0));
        } else if reading.next.is_none() {
            if reading.started.is_some_and(|started| uptime.saturating_sub(started) < EVERY) {
                return;
            }
            (reading.started, reading.next) = (Some(uptime), Some(DatabaseSlot(0)));
        }
        let mut read = 0;
        while let Some(from) = self.hit_reading.next
            && (read < PORTION || ends)
        {
            let Some(slot) = self.live.databases.range(from..).next().map(|(slot, _)| *slot) else {
                self.hit_reading.next = None;
                break;
            };
            match self.read_hits_of(slot) {
                Ok(counters) => read += counters,
                Err(error) => debug!(error = format!("{error:#}"), "hits not read"),
            }
            self.hit_reading.next = Some(DatabaseSlot(slot.0 + 1));
        }
        let reading = &mut self.hit_reading;
        let is_due = reading.has_first_hit || uptime.saturating_sub(reading.committed) >= COMMIT;
        if ends || reading.next.is_none() && is_due {
            (reading.committed, reading.has_first_hit) = (uptime, false);
            let mut changes = Changes::default();
            for id in std::mem::take(&mut reading.uncommitted) {
                self.persisted.hits().put(&id, &mut changes);
            }
            self.store.submit(changes);
        }
    }

    /// Reads the counters of one database; returns their number.
    fn read_hits_of(&mut self, slot: DatabaseSlot) -> Result<usize> {
        let Some(database) = self.live.databases.get(&slot) else { return Ok(0) };
        let mut counted: BTreeMap<RuleKey, Counted> = BTreeMap::new();
        let mut counters = 0;
        for (counter, rule) in self.live.counters.iter().filter(|(_, rule)| rule.database == slot) {
            let one = self.data_plane.counted(*counter)?;
            let sum = counted.entry(RuleKey::from(rule)).or_default();
            sum.tally += one.tally;
            sum.last = sum.last.max(one.last);
            counters += 1;
        }
        let (differs, has_first_hit) =
            self.persisted.hits_mut().count(&database.id, counted, self.clock.now());
        if differs {
            self.hit_reading.uncommitted.insert(database.id.clone());
        }
        self.hit_reading.has_first_hit |= has_first_hit;
        Ok(counters)
    }
}
