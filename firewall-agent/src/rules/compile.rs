//! Typed rules and managed ranges → the prefixes that the kernel's tries hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;

use super::{DatabaseRules, ManagedRanges, RangeId, RuleId, Source};

/// What a hit is counted on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineKey {
    Rule(RuleId),
    /// Canonical: no host bits.
    Internal(IpNet),
}

impl fmt::Display for LineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(id) => write!(f, "{id}"),
            Self::Internal(cidr) => write!(f, "internal {cidr}"),
        }
    }
}

/// The allowed sources of one database, every prefix canonical and on exactly one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    pub v4: BTreeMap<Ipv4Net, LineKey>,
    pub v6: BTreeMap<Ipv6Net, LineKey>,
    /// Ranges that unexpired rules name and the managed ranges do not hold.
    pub unresolved: BTreeSet<RangeId>,
}

impl RuleSet {
    /// Prefixes of both families.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every prefix and its line, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, &LineKey)> {
        let v4 = self.v4.iter().map(|(net, line)| (IpNet::V4(*net), line));
        v4.chain(self.v6.iter().map(|(net, line)| (IpNet::V6(*net), line)))
    }

    /// The line of a prefix.
    #[must_use]
    pub fn get(&self, net: &IpNet) -> Option<&LineKey> {
        match net {
            IpNet::V4(net) => self.v4.get(net),
            IpNet::V6(net) => self.v6.get(net),
        }
    }

    /// The first line to claim a prefix keeps it.
    pub fn allow(&mut self, cidr: IpNet, line: &LineKey) {
        match cidr.trunc() {
            IpNet::V4(net) => self.v4.entry(net).or_insert_with(|| line.clone()),
            IpNet::V6(net) => self.v6.entry(net).or_insert_with(|| line.clone()),
        };
    }
}

/// Resolves the rules that are in force at `now`: a rule whose `expires_at` is `now` or earlier is left out.
///
/// An equal prefix counts on the first rule in file order, rules before internal ranges.
#[must_use]
pub fn compile(rules: &DatabaseRules, ranges: &ManagedRanges, now: Timestamp) -> RuleSet {
    let mut set = RuleSet::default();
    for rule in rules.rules.iter().filter(|rule| rule.expires_at.is_none_or(|at| at > now)) {
        let line = LineKey::Rule(rule.id.clone());
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
        set.allow(cidr, &LineKey::Internal(cidr));
    }
    set
}
