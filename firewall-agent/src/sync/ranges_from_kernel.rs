//! Managed ranges recovered from the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use super::model::{CounterId, Live, RuleCounter};
use crate::rules::{ManagedRange, ManagedRanges, RangeId};

/// The managed ranges in the kernel's allow lists: they apply until the agent has read the file, so that a start
/// without it cuts off no source. A prefix that counts on another rule of its database is missing.
#[must_use]
pub fn ranges_from_kernel(live: &Live) -> ManagedRanges {
    let mut cidrs: BTreeMap<RangeId, BTreeSet<IpNet>> = BTreeMap::new();
    for database in live.databases.values() {
        for (net, counter) in database.sources.iter() {
            if let Some(range) = range(live, *counter) {
                cidrs.entry(range).or_default().insert(net);
            }
        }
    }
    let ranges = cidrs
        .into_iter()
        .map(|(id, cidrs)| {
            let name = label(live, &id).unwrap_or_else(|| id.to_string());
            (id, Arc::new(ManagedRange { name, cidrs, accept_shrink: false }))
        })
        .collect();
    ManagedRanges { revision: 0, generated_at: Timestamp::UNIX_EPOCH, ranges }
}

fn label(live: &Live, range: &RangeId) -> Option<String> {
    let of_range = |rule: &&Arc<RuleCounter>| rule.kind.range() == Some(range.as_str());
    live.counters.values().find(of_range).map(|rule| rule.label.clone())
}

fn range(live: &Live, counter: CounterId) -> Option<RangeId> {
    live.counters.get(&counter)?.kind.range()?.parse().ok()
}
