//! Compilation of typed rules and managed ranges to the prefixes of the kernel's tries.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use super::{DatabaseRules, ManagedRanges, PrefixMap, RangeId, RuleId};

/// Owner of a rule counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CounterKey {
    Rule(RuleId),
    /// Canonical: no host bits.
    Internal(IpNet),
    /// An entry of the overlay, by its id.
    Local(Arc<str>),
}

impl fmt::Display for CounterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(id) => write!(f, "{id}"),
            Self::Internal(cidr) => write!(f, "internal {cidr}"),
            Self::Local(id) => write!(f, "overlay {id}"),
        }
    }
}

/// Allowed sources of one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// Each with the rule that counts it.
    pub prefixes: PrefixMap<CounterKey>,
    /// Ranges that unexpired rules name and that the managed ranges lack.
    pub unresolved: BTreeSet<RangeId>,
}

impl RuleSet {
    /// Adds a prefix, unless an earlier entry claims it.
    pub fn allow(&mut self, cidr: IpNet, key: &CounterKey) {
        match cidr.trunc() {
            IpNet::V4(net) => self.prefixes.v4.entry(net).or_insert_with(|| key.clone()),
            IpNet::V6(net) => self.prefixes.v6.entry(net).or_insert_with(|| key.clone()),
        };
    }
}

/// Resolves the rules that are in force at `now`: a rule whose `expires_at` is `now` or earlier is left out.
///
/// Equal prefixes count on the first rule in file order, rules before internal ranges.
#[must_use]
pub fn compile(rules: &DatabaseRules, ranges: &ManagedRanges, now: Timestamp) -> RuleSet {
    let mut set = RuleSet::default();
    for rule in rules.rules.iter().filter(|rule| rule.expires_at.is_none_or(|at| at > now)) {
        let key = CounterKey::Rule(rule.id.clone());
        match ranges.resolve(&rule.source) {
            Ok(cidrs) => cidrs.for_each(|cidr| set.allow(cidr, &key)),
            Err(id) => _ = set.unresolved.insert(id.clone()),
        }
    }
    for internal in &rules.internal_ranges {
        let cidr = internal.cidr.trunc();
        set.allow(cidr, &CounterKey::Internal(cidr));
    }
    RuleSet { prefixes: set.prefixes.packed(), ..set }
}
