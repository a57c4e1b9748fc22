//! Shrink guard: a list in use does not vanish by mistake, and does not change much without notice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Cause, ManagedRange, ManagedRanges, RangeId, Rejection};

/// A list shorter than this may lose any of its prefixes but the last.
const FEWEST_GUARDED: usize = 4;
/// A list that has more than this many times its prefixes, or this many more, is worth a notice.
const GROWTH: usize = 4;
const GROWN_BY: usize = 256;

/// Result of applying new managed ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardedRanges {
    /// The new ranges, with the old list of each guarded range.
    pub ranges: ManagedRanges,
    /// Guarded ranges that retain their old list, with the reason and figures. The texts start with the revision.
    pub retained: BTreeMap<RangeId, String>,
    /// Ranges of `used` with an accepted change that is unusual, with figures. The texts start
    /// with the revision.
    pub notices: BTreeMap<RangeId, String>,
}

impl GuardedRanges {
    /// Rejections, one for each range that retains its old list.
    pub fn rejections(&self) -> impl Iterator<Item = Rejection> {
        self.retained
            .iter()
            .map(|(id, reason)| Rejection::new(Cause::RangeShrunk, format!("range {id}: {reason}")))
    }
}

/// Replaces `old` by `new`. A range of `used` that is missing in `new`, has become empty, or has lost more than half of
/// at least 4 prefixes retains its old list, unless it sets `accept_shrink`; a replaced prefix counts as lost. A shorter
/// list that loses any prefix, and one that grows to more than 4 times its size or by more than 256 prefixes, applies with
/// a notice.
#[must_use]
pub fn apply_shrink_guard(
    old: &ManagedRanges,
    new: ManagedRanges,
    used: &BTreeSet<RangeId>,
) -> GuardedRanges {
    let mut guarded = GuardedRanges { ranges: new, retained: BTreeMap::new(), notices: BTreeMap::new() };
    let ManagedRanges { revision, ranges, .. } = &mut guarded.ranges;
    for (id, old) in old.ranges.iter().filter(|(id, _)| used.contains(id)) {
        if ranges.get(id).is_some_and(|new| Arc::ptr_eq(old, new)) {
            continue;
        }
        let Some(loss) = loss(old, ranges.get(id).map(|new| &**new)) else {
            let notice = ranges.get(id).and_then(|new| notice(old, new));
            guarded
                .notices
                .extend(notice.map(|notice| (id.clone(), format!("revision {revision} {notice}"))));
            continue;
        };
        let name = ranges.get(id).map_or(&old.name, |new| &new.name).clone();
        if name == old.name && !old.accept_shrink {
            ranges.insert(id.clone(), Arc::clone(old));
        } else {
            let retained = ManagedRange { name, cidrs: old.cidrs.clone(), accept_shrink: false };
            ranges.insert(id.clone(), Arc::new(retained));
        }
        let count = old.cidrs.len();
        guarded.retained.insert(id.clone(), format!("revision {revision} {loss}: {count} stay in force"));
    }
    guarded
}

/// The reason why the new list is implausible, with figures.
fn loss(old: &ManagedRange, new: Option<&ManagedRange>) -> Option<String> {
    let count = old.cidrs.len();
    let Some(new) = new else {
        return Some(format!("does not have the range, which had {}", prefixes(count)));
    };
    let lost = old.cidrs.difference(&new.cidrs).count();
    let is_large = count >= FEWEST_GUARDED && lost * 2 > count;
    if new.accept_shrink || lost == 0 {
        None
    } else if new.cidrs.is_empty() {
        Some(format!("has no prefix left of {count}"))
    } else if is_large {
        Some(format!("has {} and loses {lost} of {count}", prefixes(new.cidrs.len())))
    } else {
        None
    }
}

/// The change of a list that applies and is unusual, with figures. A new range, and a confirmed shrink, are neither.
fn notice(old: &ManagedRange, new: &ManagedRange) -> Option<String> {
    let (before, now) = (old.cidrs.len(), new.cidrs.len());
    let lost = old.cidrs.difference(&new.cidrs).count();
    if before < FEWEST_GUARDED && lost > 0 && !new.accept_shrink {
        Some(format!("loses {lost} of {}", prefixes(before)))
    } else if before > 0 && (now > before * GROWTH || now - before.min(now) > GROWN_BY) {
        Some(format!("grows from {before} to {}", prefixes(now)))
    } else {
        None
    }
}

fn prefixes(count: usize) -> String {
    if count == 1 { "1 prefix".to_owned() } else { format!("{count} prefixes") }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// One range `a` of the prefixes with these last octets; `None` is a file without it.
    fn ranges(revision: u64, a: Option<&[u8]>) -> ManagedRanges {
        let list =
            |octets: &[u8]| octets.iter().map(|n| format!("192.0.2.{n}/32").parse().unwrap()).collect();
        let range = |octets| ManagedRange { cidrs: list(octets), ..ManagedRange::default() };
        let ranges = a.map(|octets| (id("a"), range(octets).into())).into_iter().collect();
        ManagedRanges { revision, generated_at: Timestamp::UNIX_EPOCH, ranges }
    }

    impl GuardedRanges {
        fn of(ranges: ManagedRanges) -> Self {
            Self { ranges, retained: BTreeMap::new(), notices: BTreeMap::new() }
        }
    }

    #[test]
    fn unusual_changes_of_a_used_range_apply_with_a_notice() {
        let list = |count: u32| {
            let net = |n: u32| format!("10.0.{}.{}/32", n / 256, n % 256).parse().unwrap();
            let range = ManagedRange { cidrs: (0..count).map(net).collect(), ..ManagedRange::default() };
            let ranges = BTreeMap::from([(id("a"), range.into())]);
            ManagedRanges { revision: 8, generated_at: Timestamp::UNIX_EPOCH, ranges }
        };
        for (old, new, notice) in [
            (3, 2, Some("loses 1 of 3 prefixes")),
            (2, 1, Some("loses 1 of 2 prefixes")),
            (4, 3, None),
            (4, 16, None),
            (4, 17, Some("grows from 4 to 17 prefixes")),
            (1, 5, Some("grows from 1 to 5 prefixes")),
            (0, 300, None),
            (100, 356, None),
            (100, 357, Some("grows from 100 to 357 prefixes")),
            (300, 300, None),
        ] {
            let used = apply_shrink_guard(&list(old), list(new), &BTreeSet::from([id("a")]));
            let notice = notice.map(|notice| format!("revision 8 {notice}"));
            assert_eq!(used.notices.get(&id("a")), notice.as_ref(), "{old} → {new}");
            assert_eq!(used.ranges, list(new), "{old} → {new}");
            let unused = apply_shrink_guard(&list(old), list(new), &BTreeSet::new());
            assert!(unused.notices.is_empty(), "{old} → {new}");
        }
        let mut confirmed = list(2);
        change(&mut confirmed).accept_shrink = true;
        assert!(apply_shrink_guard(&list(3), confirmed, &BTreeSet::from([id("a")])).notices.is_empty());
    }

    fn change(ranges: &mut ManagedRanges) -> &mut ManagedRange {
        Arc::make_mut(ranges.ranges.get_mut(&id("a")).unwrap())
    }

    fn id(id: &str) -> RangeId {
        id.parse().unwrap()
    }

    #[test]
    fn used_range_retains_prefixes_when_missing_or_shrunk_by_most() {
        type List = Option<&'static [u8]>;
        let cases: [(List, List, Option<&str>); 21] = [
            (Some(&[1, 2, 3, 4]), Some(&[1, 2, 3, 4]), None),
            (Some(&[1, 2, 3, 4]), Some(&[1, 2, 3, 4, 5]), None),
            (Some(&[1, 2, 3, 4]), Some(&[1, 2]), None),
            (Some(&[1, 2, 3, 4]), Some(&[1]), Some("has 1 prefix and loses 3 of 4: 4 stay in force")),
            (Some(&[1, 2, 3, 4, 5]), Some(&[1, 2, 3]), None),
            (Some(&[1, 2, 3, 4, 5]), Some(&[1, 2]), Some("has 2 prefixes and loses 3 of 5: 5 stay in force")),
            (Some(&[1, 2, 3, 4, 5, 6]), Some(&[1, 2, 3]), None),
            (Some(&[1, 2, 3]), Some(&[1]), None),
            (Some(&[1, 2, 3]), Some(&[4, 5, 6]), None),
            (Some(&[1, 2]), Some(&[1]), None),
            (Some(&[1, 2, 3, 4]), Some(&[1, 2, 5, 6]), None),
            (
                Some(&[1, 2, 3, 4]),
                Some(&[1, 5, 6, 7]),
                Some("has 4 prefixes and loses 3 of 4: 4 stay in force"),
            ),
            (Some(&[1, 2, 3, 4]), Some(&[]), Some("has no prefix left of 4: 4 stay in force")),
            (Some(&[1]), Some(&[]), Some("has no prefix left of 1: 1 stay in force")),
            (Some(&[1]), Some(&[2]), None),
            (Some(&[]), Some(&[]), None),
            (Some(&[]), Some(&[1]), None),
            (Some(&[1]), None, Some("does not have the range, which had 1 prefix: 1 stay in force")),
            (Some(&[]), None, Some("does not have the range, which had 0 prefixes: 0 stay in force")),
            (None, Some(&[]), None),
            (None, None, None),
        ];
        for (old, new, reason) in cases {
            let (before, after) = (ranges(7, old), ranges(8, new));
            let used = apply_shrink_guard(&before, after.clone(), &BTreeSet::from([id("a")]));
            let reason = reason.map(|reason| format!("revision 8 {reason}"));
            assert_eq!(used.retained.get(&id("a")), reason.as_ref(), "{old:?} → {new:?}");
            let in_force = if reason.is_some() { old } else { new };
            assert_eq!(used.ranges, ranges(8, in_force), "{old:?} → {new:?}");

            let unused = apply_shrink_guard(&before, after.clone(), &BTreeSet::from([id("b")]));
            assert_eq!(unused, GuardedRanges::of(after), "{old:?} → {new:?}");
        }
    }

    #[test]
    fn confirmed_shrink_is_accepted_once() {
        let used = BTreeSet::from([id("a")]);
        let old = ranges(7, Some(&[1, 2, 3, 4]));
        for list in [&[][..], &[1], &[5, 6]] {
            let mut new = ranges(8, Some(list));
            change(&mut new).accept_shrink = true;
            let accepted = apply_shrink_guard(&old, new.clone(), &used);
            assert_eq!(accepted, GuardedRanges::of(new));
        }
        let mut old = old;
        change(&mut old).accept_shrink = true;
        let refused = apply_shrink_guard(&old, ranges(8, Some(&[1])), &used);
        assert_eq!(refused.ranges, ranges(8, Some(&[1, 2, 3, 4])));
    }

    #[test]
    fn retained_range_lasts_until_its_file_is_plausible() {
        let used = BTreeSet::from([id("a")]);
        let mut ranges_in_force = ranges(7, Some(&[1, 2, 3, 4]));
        for (revision, list, retained) in [(8, Some(&[1][..]), 1), (9, None, 1), (10, Some(&[1, 2]), 0)] {
            let guarded = apply_shrink_guard(&ranges_in_force, ranges(revision, list), &used);
            assert_eq!(guarded.retained.len(), retained, "{revision}");
            ranges_in_force = guarded.ranges;
        }
        assert_eq!(ranges_in_force, ranges(10, Some(&[1, 2])));
    }

    #[test]
    fn other_ranges_apply_and_a_retained_range_takes_its_new_name() {
        let mut old = ranges(7, Some(&[1, 2, 3, 4]));
        old.ranges.insert(id("b"), ranges(7, Some(&[9])).ranges[&id("a")].clone());
        let mut new = ranges(8, Some(&[1]));
        change(&mut new).name = "renamed".to_owned();
        new.ranges.insert(id("b"), ranges(8, Some(&[8])).ranges[&id("a")].clone());
        let got = apply_shrink_guard(&old, new.clone(), &BTreeSet::from([id("a"), id("b")])).ranges.ranges;
        assert_eq!(got[&id("a")].cidrs, old.ranges[&id("a")].cidrs);
        assert_eq!(got[&id("a")].name, "renamed");
        assert_eq!(got[&id("b")], new.ranges[&id("b")]);
    }
}
