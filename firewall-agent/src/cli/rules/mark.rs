//! Marks of rules that are unused or redundant.

use ipnet::IpNet;
use serde::Serialize;

use crate::cli::hits::RuleCounters;
use crate::rules::PrefixMap;
use crate::sync::{CounterId, DatabaseSlot, Live};

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

/// Marks a rule. `not_in_force`: no prefix counts on it, since an equal one counts on a rule before it, or it has
/// expired, or its range is missing or empty. `covered`: without it, other rules of the database would still allow its
/// sources. `unused`: no packet was ever counted on it.
pub(super) fn mark(
    rule: &RuleCounters,
    prefixes: &[(IpNet, CounterId)],
    packets: u64,
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
    Mark { mark: (packets == 0).then_some("unused"), covered_by: None }
}

/// Counter of the longest prefix of another rule that contains this one.
fn covering(net: IpNet, rule: &RuleCounters, sources: &PrefixMap<CounterId>) -> Option<CounterId> {
    let wider = std::iter::successors(net.supernet(), IpNet::supernet);
    wider.filter_map(|wider| sources.get(&wider).copied()).find(|slot| !rule.has(*slot))
}
