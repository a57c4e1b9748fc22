//! Reading of the rule counters for the store: each minute, in portions, with a commit each five minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use tracing::debug;

use super::load_state::boot_of;
use super::read_back::ReadBack;
use super::reconcile::Reconciler;
use crate::host::clock::Moment;
use crate::rules::DatabaseId;
use crate::sync::{Changes, Counted, DatabaseSlot, RuleKey, StateStore};

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

/// Returns whether the old counters were read until their end, or shortly before. They ended now, or, in an earlier boot
/// than this one, before it. A clock that disagrees says nothing.
fn is_gapless(moment: Moment, is_same_boot: bool, mark: Option<Timestamp>) -> bool {
    let uptime = SignedDuration::try_from(moment.uptime).unwrap_or_default();
    let ended = if is_same_boot { Some(moment.wall) } else { moment.wall.checked_sub(uptime).ok() };
    ended.zip(mark).is_some_and(|(ended, mark)| ended.duration_since(mark).abs() <= GAP)
}

impl<D: ReadBack, S: StateStore> Reconciler<D, S> {
    /// Continues the stored counts with the kernel's counters of this identity, at a start.
    pub(super) fn resume_hits(&mut self, counters: &str, moment: Moment) {
        let (now, mut changes) = (self.clock.now(), Changes::default());
        let mark = self.persisted.clock_mark();
        let hits = self.persisted.hits_mut();
        let is_same_boot = hits.counters().is_some_and(|before| boot_of(before) == boot_of(counters));
        hits.resume(counters, is_gapless(moment, is_same_boot, mark), now, &mut changes);
        hits.drop_uncounted(&self.live, &mut changes);
        hits.begin(&self.live, |_| true, now, &mut changes);
        self.store.submit(changes);
    }

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
            let sum = counted.entry(RuleKey::from(&**rule)).or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_is_the_time_from_the_last_mark_to_the_end_of_the_counters() {
        let now: Timestamp = "2026-08-21T15:27:32Z".parse().unwrap();
        let moment = Moment { wall: now, uptime: Duration::from_mins(60), synchronised: true };
        for (minutes, is_same_boot, expected) in [
            (5, true, true),
            (15, true, false),
            // The boot was an hour ago.
            (65, false, true),
            (75, false, false),
            (65, true, false),
            // The wall clock is behind the mark.
            (-15, true, false),
            (5, false, false),
        ] {
            let mark = now - SignedDuration::from_mins(minutes);
            assert_eq!(is_gapless(moment, is_same_boot, Some(mark)), expected, "{minutes} {is_same_boot}");
        }
        assert!(!is_gapless(moment, true, None));
    }
}
