//! Compilation of typed rules and managed ranges to the prefixes of the kernel's tries.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;

use super::{DatabaseRules, ManagedRanges, RangeId, RuleId, Source};

/// Owner of a rule counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CounterKey {
    Rule(RuleId),
    /// Canonical: no host bits.
    Internal(IpNet),
}

impl fmt::Display for CounterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(id) => write!(f, "{id}"),
            Self::Internal(cidr) => write!(f, "internal {cidr}"),
        }
    }
}

/// Allowed sources of one database: canonical prefixes, each with exactly one rule counter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    pub v4: BTreeMap<Ipv4Net, CounterKey>,
    pub v6: BTreeMap<Ipv6Net, CounterKey>,
    /// Ranges that unexpired rules name and that the managed ranges lack.
    pub unresolved: BTreeSet<RangeId>,
}

impl RuleSet {
    /// Number of prefixes of both families.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every prefix and its counter, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, &CounterKey)> {
        let v4 = self.v4.iter().map(|(net, line)| (IpNet::V4(*net), line));
        v4.chain(self.v6.iter().map(|(net, line)| (IpNet::V6(*net), line)))
    }

    /// Counter of a prefix.
    #[must_use]
    pub fn get(&self, net: &IpNet) -> Option<&CounterKey> {
        match net {
            IpNet::V4(net) => self.v4.get(net),
            IpNet::V6(net) => self.v6.get(net),
        }
    }

    /// Adds a prefix, unless an earlier entry claims it.
    pub fn allow(&mut self, cidr: IpNet, line: &CounterKey) {
        match cidr.trunc() {
            IpNet::V4(net) => self.v4.entry(net).or_insert_with(|| line.clone()),
            IpNet::V6(net) => self.v6.entry(net).or_insert_with(|| line.clone()),
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
        let line = CounterKey::Rule(rule.id.clone());
        match &rule.source {
            Source::Custom(cidr) => set.allow(*cidr, &line),
            Source::Managed(id) => match ranges.ranges.get(id) {
                Some(range) => range.cidrs.iter().for_each(|cidr| set.allow(*cidr, &line)),
                None => {
                    set.unresolved.insert(id.clone());
                }
            },
        }
    }
    for internal in &rules.internal_ranges {
        let cidr = internal.cidr.trunc();
        set.allow(cidr, &CounterKey::Internal(cidr));
    }
    set
}
