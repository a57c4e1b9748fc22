//! Hits of a rule, and of its single prefixes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use anyhow::Result;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use super::style::Style;
use crate::bpf::{CounterHits, Kernel};
use crate::sync::{CounterId, CounterKind, DatabaseSlot, Live};

/// One prefix and its hits. Field names are an interface.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PrefixHits {
    pub cidr: String,
    /// `None` if the prefix has no counter of its own, or shares its rule's with others.
    pub packets: Option<u64>,
    pub bytes: Option<u64>,
    pub last_hit: Option<Timestamp>,
}

/// Counters of one rule: its own, and those of single prefixes.
#[derive(Debug, Default)]
pub(super) struct RuleCounters {
    /// In ascending order.
    pub counters: Vec<CounterId>,
}

/// Rules of a database in the order of their own counters, the default counter last.
pub(super) fn rule_counters(live: &Live, database: DatabaseSlot) -> Vec<RuleCounters> {
    let mut rules: BTreeMap<(bool, &str), RuleCounters> = BTreeMap::new();
    for (counter, named) in live.counters.iter().filter(|(_, named)| named.database == database) {
        rules.entry((named.kind == CounterKind::Default, &named.id)).or_default().counters.push(*counter);
    }
    let mut rules: Vec<((bool, &str), RuleCounters)> = rules.into_iter().collect();
    rules.sort_by_key(|((is_default, _), rule)| (*is_default, rule.counters[0]));
    rules.into_iter().map(|(_, rule)| rule).collect()
}

impl RuleCounters {
    /// Sum of all counters of the rule.
    pub fn total(&self, kernel: &Kernel) -> Result<CounterHits> {
        let mut total = CounterHits::default();
        for counter in &self.counters {
            add(&mut total, kernel.hits(*counter)?);
        }
        Ok(total)
    }

    /// Prefixes that count on these counters, IPv4 first.
    pub fn prefixes(&self, live: &Live, database: DatabaseSlot) -> Vec<(IpNet, CounterId)> {
        let sources = live.databases.get(&database).map(|one| &one.sources);
        let all = sources.into_iter().flat_map(|sources| sources.iter());
        all.map(|(net, counter)| (net, *counter)).filter(|(_, counter)| self.has(*counter)).collect()
    }

    pub fn has(&self, counter: CounterId) -> bool {
        self.counters.binary_search(&counter).is_ok()
    }
}

/// Hits of each prefix; none where several prefixes share a counter.
pub(super) fn by_prefix(kernel: &Kernel, prefixes: &[(IpNet, CounterId)]) -> Result<Vec<PrefixHits>> {
    let mut users: BTreeMap<CounterId, u32> = BTreeMap::new();
    prefixes.iter().for_each(|(_, counter)| *users.entry(*counter).or_default() += 1);
    prefixes
        .iter()
        .map(|(net, counter)| {
            let hits = if users[counter] == 1 { Some(kernel.hits(*counter)?) } else { None };
            Ok(PrefixHits {
                cidr: net.to_string(),
                packets: hits.map(|hits| hits.packets),
                bytes: hits.map(|hits| hits.bytes),
                last_hit: hits.and_then(|hits| hits.last),
            })
        })
        .collect()
}

/// Writes the start of these counts, or the first and the last of them.
pub(super) fn write_counted_since(
    counted: impl Iterator<Item = Option<Timestamp>>,
    style: Style,
    out: &mut impl Write,
) -> Result<()> {
    let counted: BTreeSet<Timestamp> = counted.flatten().collect();
    let shown = [counted.first(), counted.last()].map(|time| time.map(|time| style.time(*time)));
    match shown {
        [Some(first), Some(last)] if first == last => writeln!(out, "counted since {first}")?,
        [Some(first), Some(last)] => writeln!(out, "counted since {first}, the newest since {last}")?,
        _ => {}
    }
    Ok(())
}

pub(super) fn add(total: &mut CounterHits, more: CounterHits) {
    total.packets += more.packets;
    total.bytes += more.bytes;
    total.last = total.last.max(more.last);
}
