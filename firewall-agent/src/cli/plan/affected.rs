//! Recently active sources that would lose or gain access.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use crate::bpf::{Kernel, cached_flows};
use crate::rules::DatabaseId;
use crate::sync::{Access, Destination, Live};

/// A source whose access would change. Field names are an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct AffectedSource {
    pub source: String,
    pub endpoint: String,
    pub effect: Effect,
    /// The rule that admits it now, or would; `None` where monitor mode or an open destination does.
    pub rule: Option<String>,
    /// From the record of a refusal; `None` for a source that is only in the verdict cache.
    pub last_seen: Option<Timestamp>,
    /// Time of the last packet that the rule admitted, from any source.
    pub rule_last_hit: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Effect {
    Loses,
    Gains,
}

/// The affected sources by database, those that lose first. Sources come from the records of refused packets, also those
/// that monitor mode let pass, and from the verdict cache: bounded tables, which a flood may fill with others.
pub(super) fn find(
    kernel: &Kernel,
    bpffs_dir: &Path,
    before: &Live,
    after: &Live,
) -> Result<BTreeMap<DatabaseId, Vec<AffectedSource>>> {
    let mut seen: BTreeMap<(IpAddr, Destination), Option<Timestamp>> =
        cached_flows(bpffs_dir)?.into_iter().map(|flow| (flow, None)).collect();
    for one in kernel.denied()? {
        let what = one.what;
        if let (Some(source), Some(address), Some(protocol)) = (what.source, what.destination, what.protocol)
        {
            let to = Destination { address: Some(address), port: what.port, protocol };
            let last = seen.entry((source, to)).or_default();
            *last = (*last).max(Some(one.last_seen));
        }
    }
    let mut affected: BTreeMap<DatabaseId, Vec<AffectedSource>> = BTreeMap::new();
    for ((source, to), last_seen) in seen {
        let (now, then) = (before.access(source, &to), after.access(source, &to));
        let (effect, admitting, live) = match (now.passes(), then.passes()) {
            (true, false) => (Effect::Loses, now, before),
            (false, true) => (Effect::Gains, then, after),
            (true, true) | (false, false) => continue,
        };
        let Some(database) = database_at(&to, before).or_else(|| database_at(&to, after)) else { continue };
        let (rule, rule_last_hit) = match admitting {
            Access::Allowed(counter) => {
                let rule = live.counters.get(&counter).map(|rule| rule.id.clone());
                let hits = if effect == Effect::Loses { kernel.hits(counter)?.last } else { None };
                (rule, hits)
            }
            Access::Unprotected | Access::Monitored | Access::Refused | Access::Blocked | Access::Closed => {
                (None, None)
            }
        };
        affected.entry(database.clone()).or_default().push(AffectedSource {
            source: source.to_string(),
            endpoint: to.to_string(),
            effect,
            rule,
            last_seen,
            rule_last_hit,
        });
    }
    for sources in affected.values_mut() {
        sources.sort_by_key(|one| (one.effect, std::cmp::Reverse(one.last_seen)));
    }
    Ok(affected)
}

fn database_at<'a>(to: &Destination, live: &'a Live) -> Option<&'a DatabaseId> {
    live.databases.get(&live.table.endpoints.deciding(to)?.slot()?).map(|database| &database.id)
}
