//! Marks of rules that are unused or redundant.

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::cli::hits::RuleCounters;
use crate::rules::PrefixMap;
use crate::sync::{CounterId, DatabaseSlot, Live};

/// Shortest count without a hit after which a rule is unused.
const UNUSED: SignedDuration = SignedDuration::from_hours(24);

/// Mark of a rule. Field names are an interface.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Mark {
    /// `unused`, `covered` or `not_in_force`; `None` if nothing is notable.
    mark: Option<&'static str>,
    /// Rule with prefixes that contain those of this one, if it is `covered`.
    covered_by: Option<String>,
}

impl Mark {
    #[cfg(test)]
    pub fn covered_by(rule: &str) -> Self {
        Self { mark: Some("covered"), covered_by: Some(rule.to_owned()) }
    }

    pub fn text(&self) -> String {
        match (self.mark, &self.covered_by) {
            (Some(mark), Some(by)) => format!("{mark} by {by}"),
            (Some(mark), None) => mark.replace('_', " "),
            (None, _) => "-".to_owned(),
        }
    }
}

/// Count of a rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hits {
    pub packets: u64,
    /// `None` when unknown.
    pub counted_since: Option<Timestamp>,
    pub now: Timestamp,
}

impl Hits {
    fn is_unused(self) -> bool {
        let counted = self.counted_since.map(|since| self.now.duration_since(since));
        self.packets == 0 && counted.is_some_and(|counted| counted >= UNUSED)
    }
}

/// Marks a rule. `not_in_force`: no prefix counts on it, since an equal one counts on a rule before it, or it has
/// expired, or its range is missing or empty. `covered`: without it, other rules of the database would still allow its
/// sources. `unused`: no packet was counted on it for a day or longer; a count without a known start shows nothing.
pub(super) fn mark(
    rule: &RuleCounters,
    prefixes: &[(IpNet, CounterId)],
    hits: Hits,
    database: DatabaseSlot,
    live: &Live,
) -> Mark {
    if prefixes.is_empty() {
        return Mark { mark: Some("not_in_force"), covered_by: None };
    }
    let by: Option<Vec<CounterId>> = prefixes
        .iter()
        .map(|(net, _)| covering(*net, rule, &live.databases.get(&database)?.sources))
        .collect();
    if let Some(by) = by {
        let covered_by = by.first().and_then(|slot| live.counters.get(slot)).map(|named| named.id.clone());
        return Mark { mark: Some("covered"), covered_by };
    }
    Mark { mark: hits.is_unused().then_some("unused"), covered_by: None }
}

/// Counter of the longest prefix of another rule that contains this one.
fn covering(net: IpNet, rule: &RuleCounters, sources: &PrefixMap<CounterId>) -> Option<CounterId> {
    let wider = std::iter::successors(net.supernet(), IpNet::supernet);
    wider.filter_map(|wider| sources.get(&wider).copied()).find(|slot| !rule.has(*slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_unused_after_a_day_of_counting_without_a_hit() {
        let now: Timestamp = "2026-08-21T15:27:32Z".parse().unwrap();
        let hits = |packets, hours: Option<i64>| Hits {
            packets,
            counted_since: hours.map(|hours| now - SignedDuration::from_hours(hours)),
            now,
        };
        for (packets, hours, is_unused) in [
            (0, Some(24), true),
            (0, Some(23), false),
            (0, Some(-1), false),
            (0, None, false),
            (1, Some(24), false),
        ] {
            assert_eq!(hits(packets, hours).is_unused(), is_unused, "{packets} {hours:?}");
        }
    }
}
