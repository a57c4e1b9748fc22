//! Hits of a rule, and of its single prefixes.

use std::collections::BTreeMap;

use anyhow::Result;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use crate::bpf::{Kernel, LineHits};
use crate::sync::{LineKind, Live, RuleSlot, Slot};

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
pub(super) struct RuleLines {
    /// In ascending order.
    pub slots: Vec<RuleSlot>,
}

/// Rules of a database in the order of their own counters, the default counter last.
pub(super) fn rule_lines(live: &Live, database: Slot) -> Vec<RuleLines> {
    let mut rules: BTreeMap<(bool, &str), RuleLines> = BTreeMap::new();
    for (slot, line) in live.lines.iter().filter(|(_, line)| line.database == database) {
        rules.entry((line.kind == LineKind::Default, &line.id)).or_default().slots.push(*slot);
    }
    let mut rules: Vec<((bool, &str), RuleLines)> = rules.into_iter().collect();
    rules.sort_by_key(|((is_default, _), lines)| (*is_default, lines.slots[0]));
    rules.into_iter().map(|(_, lines)| lines).collect()
}

impl RuleLines {
    /// Sum of all counters of the rule.
    pub fn total(&self, kernel: &Kernel) -> Result<LineHits> {
        let mut total = LineHits::default();
        for slot in &self.slots {
            add(&mut total, kernel.hits(*slot)?);
        }
        Ok(total)
    }

    /// Prefixes that count on these counters, IPv4 first.
    pub fn prefixes(&self, live: &Live, database: Slot) -> Vec<(IpNet, RuleSlot)> {
        let sources = live.databases.get(&database).map(|one| &one.sources);
        let all = sources.into_iter().flat_map(|sources| sources.iter());
        all.filter(|(_, slot)| self.has(*slot)).collect()
    }

    pub fn has(&self, slot: RuleSlot) -> bool {
        self.slots.binary_search(&slot).is_ok()
    }
}

/// Hits of each prefix; none where several prefixes share a counter.
pub(super) fn by_prefix(kernel: &Kernel, prefixes: &[(IpNet, RuleSlot)]) -> Result<Vec<PrefixHits>> {
    let mut users: BTreeMap<RuleSlot, u32> = BTreeMap::new();
    prefixes.iter().for_each(|(_, slot)| *users.entry(*slot).or_default() += 1);
    prefixes
        .iter()
        .map(|(net, slot)| {
            let hits = if users[slot] == 1 { Some(kernel.hits(*slot)?) } else { None };
            Ok(PrefixHits {
                cidr: net.to_string(),
                packets: hits.map(|hits| hits.packets),
                bytes: hits.map(|hits| hits.bytes),
                last_hit: hits.and_then(|hits| hits.last),
            })
        })
        .collect()
}

pub(super) fn add(total: &mut LineHits, more: LineHits) {
    total.packets += more.packets;
    total.bytes += more.bytes;
    total.last = total.last.max(more.last);
}
