//! Hits of rules beyond the life of their counters: a reboot empties the kernel, and a prefix that leaves takes its
//! counter along.
//!
//! The store has for each rule the start of its count, the sum of the counters that are gone, and the last reading of
//! those in the kernel. The reading becomes a part of the sum when the counters are others: the identity of the
//! kernel's counters is stored in the same transaction, so that a crash at any point adds it once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firewall_common::Tally;
use jiff::Timestamp;

use super::model::{CounterKind, DatabaseSlot, Live, RuleCounter};
use super::record::{Changes, Key, Record};
use crate::rules::DatabaseId;

/// A rule of one database, as its counters name it: counters of single prefixes share the key of their rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleKey {
    /// As [`RuleCounter::id`].
    pub id: String,
    /// Id of the managed range.
    pub range: Option<String>,
}

impl From<&RuleCounter> for RuleKey {
    fn from(rule: &RuleCounter) -> Self {
        Self { id: rule.id.clone(), range: rule.kind.range().map(str::to_owned) }
    }
}

/// Counts of one rule, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleHits {
    /// Start of the count.
    pub since: Timestamp,
    /// Sum of the counters that are gone.
    pub retired: Tally,
    /// Sum of the counters in the kernel at the last reading.
    pub live: Tally,
    /// Time of the last hit.
    pub last: Option<Timestamp>,
}

impl RuleHits {
    fn new(since: Timestamp) -> Self {
        Self { since, retired: Tally::default(), live: Tally::default(), last: None }
    }
}

/// Sum of counters, as read from the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    pub tally: Tally,
    pub last: Option<Timestamp>,
}

/// A rule counter that the kernel no longer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreedCounter {
    pub database: DatabaseId,
    pub rule: Arc<RuleCounter>,
}

/// Counts of all rules of one database.
pub type DatabaseHits = BTreeMap<RuleKey, RuleHits>;

/// Counts of the rules of every database on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredHits {
    databases: BTreeMap<DatabaseId, DatabaseHits>,
    /// Identity of the kernel's counters; `None` before the first.
    counters: Option<String>,
}

impl StoredHits {
    pub fn load(&mut self, id: DatabaseId, hits: DatabaseHits) {
        self.databases.insert(id, hits);
    }

    pub fn load_counters(&mut self, identity: String) {
        self.counters = Some(identity);
    }

    /// Identity of the kernel's counters at the last reading.
    #[must_use]
    pub fn counters(&self) -> Option<&str> {
        self.counters.as_deref()
    }

    /// The counts of a rule.
    #[must_use]
    pub fn of(&self, database: &DatabaseId, rule: &RuleCounter) -> Option<&RuleHits> {
        self.databases.get(database)?.get(&RuleKey::from(rule))
    }

    /// The packets and bytes of a rule that its counters in the kernel do not have; `counters` identifies these.
    #[must_use]
    pub fn beyond(&self, hits: &RuleHits, counters: &str) -> Tally {
        let mut beyond = hits.retired;
        if self.counters.as_deref() != Some(counters) {
            beyond += hits.live;
        }
        beyond
    }

    /// Continues the counts at a start, with the kernel's counters. If these are others than at the last reading, the
    /// reading is added to the sums. Rules without a hit then count from `now`, unless the gap is short: one may have
    /// come unseen.
    pub fn resume(&mut self, counters: &str, is_gapless: bool, now: Timestamp, changes: &mut Changes) {
        if self.counters.as_deref() == Some(counters) {
            return;
        }
        for rule in self.databases.values_mut().flat_map(BTreeMap::values_mut) {
            rule.retired += std::mem::take(&mut rule.live);
            if rule.retired.packets == 0 && !is_gapless {
                rule.since = now;
            }
        }
        self.counters = Some(counters.to_owned());
        changes.put(Record::CountersOf(counters.to_owned()));
        self.databases.keys().for_each(|id| self.put(id, changes));
    }

    /// Drops the rules that have no counter, of databases in the kernel: a crash may have left them.
    pub fn drop_uncounted(&mut self, live: &Live, changes: &mut Changes) {
        let known = rules(live, |_| true);
        for database in live.databases.values() {
            let Some(hits) = self.databases.get_mut(&database.id) else { continue };
            let before = hits.len();
            hits.retain(|rule, _| known.get(&database.id).is_some_and(|rules| rules.contains(rule)));
            if hits.len() != before {
                self.put(&database.id, changes);
            }
        }
    }

    /// Starts the counts of new rules, of databases for which `is_wanted` returns `true`.
    pub fn begin(
        &mut self,
        live: &Live,
        is_wanted: impl Fn(&DatabaseId) -> bool,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        for (id, rules) in rules(live, is_wanted) {
            let hits = self.databases.entry(id.clone()).or_default();
            let before = hits.len();
            rules.into_iter().for_each(|rule| _ = hits.entry(rule).or_insert(RuleHits::new(now)));
            if hits.len() != before {
                self.put(id, changes);
            }
        }
    }

    /// Takes over a reading at `now` of all counters of a database. Returns whether the record differs, and whether a rule
    /// had its first hit.
    pub fn count(
        &mut self,
        id: &DatabaseId,
        counted: BTreeMap<RuleKey, Counted>,
        now: Timestamp,
    ) -> (bool, bool) {
        let hits = self.databases.entry(id.clone()).or_default();
        let (mut differs, mut has_first) = (false, false);
        for (rule, counted) in counted {
            let hits = hits.entry(rule).or_insert_with(|| {
                differs = true;
                RuleHits::new(now)
            });
            let was_hit = hits.retired.packets + hits.live.packets > 0;
            has_first |= !was_hit && counted.tally.packets > 0;
            // The time varies with each conversion from the kernel's clock.
            differs |= hits.live != counted.tally;
            (hits.live, hits.last) = (counted.tally, hits.last.max(counted.last));
        }
        (differs, has_first)
    }

    /// Adds the counts of freed counters of prefixes to their rules, and drops the rules of other freed counters.
    pub fn retire(&mut self, freed: &[(FreedCounter, Tally)], changes: &mut Changes) {
        for (FreedCounter { database, rule }, counted) in freed {
            let Some(hits) = self.databases.get_mut(database) else { continue };
            let key = RuleKey::from(&**rule);
            if !matches!(rule.kind, CounterKind::Prefix(_)) {
                hits.remove(&key);
            } else if let Some(hits) = hits.get_mut(&key) {
                hits.retired += *counted;
                hits.live.packets = hits.live.packets.saturating_sub(counted.packets);
                hits.live.bytes = hits.live.bytes.saturating_sub(counted.bytes);
            }
            self.put(database, changes);
        }
    }

    /// Drops the databases for which `is_here` returns `false`.
    pub fn retain(&mut self, is_here: impl Fn(&DatabaseId) -> bool, changes: &mut Changes) {
        self.databases.retain(|id, _| {
            let is_here = is_here(id);
            if !is_here {
                changes.remove(Key::Hits(id.clone()));
            }
            is_here
        });
    }

    /// Adds the record of a database to the changes.
    pub fn put(&self, id: &DatabaseId, changes: &mut Changes) {
        if let Some(hits) = self.databases.get(id) {
            changes.put(Record::Hits(id.clone(), hits.clone()));
        }
    }
}

/// The rules with a counter, of databases for which `is_wanted` returns `true`.
fn rules(live: &Live, is_wanted: impl Fn(&DatabaseId) -> bool) -> BTreeMap<&DatabaseId, BTreeSet<RuleKey>> {
    let wanted = live.databases.iter().filter(|(_, database)| is_wanted(&database.id));
    let wanted: BTreeMap<DatabaseSlot, &DatabaseId> =
        wanted.map(|(slot, database)| (*slot, &database.id)).collect();
    let mut rules: BTreeMap<&DatabaseId, BTreeSet<RuleKey>> = BTreeMap::new();
    if !wanted.is_empty() {
        for rule in live.counters.values() {
            if let Some(id) = wanted.get(&rule.database) {
                rules.entry(id).or_default().insert(RuleKey::from(&**rule));
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::PrefixMap;
    use crate::sync::{CounterId, Database, DatabaseSlot};

    const SLOT: DatabaseSlot = DatabaseSlot(0);

    fn id() -> DatabaseId {
        "orders".parse().unwrap()
    }

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3600).unwrap()
    }

    fn rule(id: &str, kind: CounterKind) -> RuleCounter {
        RuleCounter { database: SLOT, kind, id: id.to_owned(), label: String::new() }
    }

    fn tally(packets: u64) -> Tally {
        Tally { packets, bytes: packets * 60 }
    }

    /// A custom rule, and a managed rule with a counter of its own and one of a prefix.
    fn live() -> Live {
        let (custom, managed) = (CounterKind::Custom, CounterKind::Managed("man-a".to_owned()));
        let prefix = CounterKind::Prefix("man-a".to_owned());
        let counters = [rule("fr-1", custom), rule("fr-2", managed), rule("fr-2", prefix)];
        let database = Database {
            id: id(),
            name: String::new(),
            default_counter: CounterId(1),
            floor: 1,
            stamp: None,
            sources: Arc::new(PrefixMap::new()),
        };
        Live {
            databases: BTreeMap::from([(SLOT, database)]),
            counters: (10..).map(CounterId).zip(counters.map(Arc::new)).collect(),
            ..Live::default()
        }
    }

    fn begun() -> (StoredHits, Live) {
        let (mut hits, live, mut changes) = (StoredHits::default(), live(), Changes::default());
        hits.resume("boot 1", false, at(0), &mut changes);
        hits.begin(&live, |_| true, at(1), &mut changes);
        assert!(changes.contains(&Key::Hits(id())));
        (hits, live)
    }

    fn count(hits: &mut StoredHits, packets: [u64; 2]) -> (bool, bool) {
        let counted = ["fr-1", "fr-2"].into_iter().zip(packets).map(|(rule, packets)| {
            let range = (rule == "fr-2").then(|| "man-a".to_owned());
            (RuleKey { id: rule.to_owned(), range }, Counted { tally: tally(packets), last: None })
        });
        hits.count(&id(), counted.collect(), at(3))
    }

    /// Packets of both rules, beyond the kernel with these counters, and the start of their counts.
    fn beyond(hits: &StoredHits, live: &Live, counters: &str) -> [(u64, Timestamp); 2] {
        [10, 11].map(|counter| {
            let of = hits.of(&id(), &live.counters[&CounterId(counter)]).unwrap();
            (hits.beyond(of, counters).packets, of.since)
        })
    }

    /// The state that a start loads from the records of `changes`.
    fn stored(changes: Vec<Changes>) -> StoredHits {
        let (mut hits, mut all) = (StoredHits::default(), Changes::default());
        changes.into_iter().for_each(|changes| all.merge(changes));
        for (_, record) in all {
            match record {
                Some(Record::Hits(id, of)) => hits.load(id, of),
                Some(Record::CountersOf(identity)) => hits.load_counters(identity),
                _ => {}
            }
        }
        hits
    }

    #[test]
    fn counts_and_their_start_survive_reboots_and_restarts_once() {
        let (mut hits, live) = begun();
        assert_eq!(count(&mut hits, [5, 0]), (true, true));
        assert_eq!(count(&mut hits, [5, 0]), (false, false), "nothing changed");
        assert_eq!(count(&mut hits, [7, 0]), (true, false), "not the first hit");
        assert_eq!(beyond(&hits, &live, "boot 1"), [(0, at(1)), (0, at(1))], "the kernel has them");
        assert_eq!(
            beyond(&hits, &live, "boot 2"),
            [(7, at(1)), (0, at(1))],
            "before the agent of the new boot"
        );
        // A restart finds the same counters.
        hits.resume("boot 1", true, at(9), &mut Changes::default());
        assert_eq!(beyond(&hits, &live, "boot 1"), [(0, at(1)), (0, at(1))]);
        for (boot, expected) in [("boot 2", 7), ("boot 2", 7), ("boot 3", 7)] {
            hits.resume(boot, true, at(9), &mut Changes::default());
            hits.begin(&live, |_| true, at(9), &mut Changes::default());
            assert_eq!(beyond(&hits, &live, boot), [(expected, at(1)), (0, at(1))], "{boot}");
        }
        count(&mut hits, [2, 0]);
        hits.resume("boot 4", true, at(10), &mut Changes::default());
        assert_eq!(beyond(&hits, &live, "boot 4")[0], (9, at(1)));
    }

    #[test]
    fn a_crash_before_the_commit_of_a_boot_adds_the_reading_later() {
        let (mut hits, live) = begun();
        count(&mut hits, [5, 0]);
        let mut before = Changes::default();
        hits.put(&id(), &mut before);
        before.put(Record::CountersOf("boot 1".to_owned()));
        let mut fold = Changes::default();
        hits.resume("boot 2", true, at(2), &mut fold);
        for committed in [vec![before.clone()], vec![before, fold]] {
            let mut next = stored(committed);
            next.resume("boot 2", true, at(3), &mut Changes::default());
            assert_eq!(beyond(&next, &live, "boot 2")[0], (5, at(1)));
        }
    }

    #[test]
    fn rule_without_a_hit_counts_anew_after_a_gap() {
        for (is_gapless, since) in [(true, at(1)), (false, at(9))] {
            let (mut hits, live) = begun();
            count(&mut hits, [5, 0]);
            hits.resume("boot 2", is_gapless, at(9), &mut Changes::default());
            assert_eq!(beyond(&hits, &live, "boot 2"), [(5, at(1)), (0, since)]);
        }
    }

    #[test]
    fn counter_of_a_prefix_leaves_its_hits_to_the_rule_and_a_rule_takes_its_own_along() {
        let (mut hits, live) = begun();
        count(&mut hits, [5, 8]);
        let freed = |counter: u32, packets| {
            let rule = live.counters[&CounterId(counter)].clone();
            (FreedCounter { database: id(), rule }, tally(packets))
        };
        let mut changes = Changes::default();
        hits.retire(&[freed(12, 3)], &mut changes);
        assert_eq!(beyond(&hits, &live, "boot 1")[1], (3, at(1)));
        assert_eq!(beyond(&hits, &live, "boot 2")[1], (8, at(1)), "no packet twice");
        assert!(changes.contains(&Key::Hits(id())));
        hits.retire(&[freed(10, 5)], &mut changes);
        assert_eq!(hits.of(&id(), &live.counters[&CounterId(10)]), None);
        hits.begin(&live, |_| true, at(5), &mut changes);
        assert_eq!(beyond(&hits, &live, "boot 2")[0], (0, at(5)), "a later rule of that id is another one");
    }

    #[test]
    fn rules_and_databases_that_left_are_dropped() {
        let (mut hits, mut live) = begun();
        let custom = live.counters.remove(&CounterId(10)).unwrap();
        let mut changes = Changes::default();
        hits.drop_uncounted(&Live::default(), &mut changes);
        assert!(changes.is_empty() && hits.of(&id(), &custom).is_some(), "an empty kernel says nothing");
        hits.drop_uncounted(&live, &mut changes);
        assert!(changes.contains(&Key::Hits(id())) && hits.of(&id(), &custom).is_none());
        hits.retain(|_| true, &mut changes);
        assert!(hits.of(&id(), &live.counters[&CounterId(11)]).is_some(), "the control");
        hits.retain(|_| false, &mut changes);
        assert_eq!(stored(vec![changes]), StoredHits::default());
    }
}
