//! Probe packets for databases: from a source that must pass, and from one that must not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::model::{CounterId, DatabaseSlot, Destination, Live};
use super::question::Question;
use crate::rules::{Mode, PrefixMap};

/// A packet with its expected verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub question: Question,
    pub passes: bool,
}

/// For each of these slots at most one packet that must pass and one that must not, per address family of the
/// database's endpoints. An empty list, or one whose sources are all blocked, passes no source, a list of all addresses denies none, and a database in monitor
/// mode denies none.
#[must_use]
pub fn samples(slots: &BTreeSet<DatabaseSlot>, live: &Live) -> BTreeMap<DatabaseSlot, Vec<Sample>> {
    let open = live.open_endpoints();
    let known = slots.iter().filter_map(|slot| Some((*slot, live.databases.get(slot)?)));
    known
        .map(|(slot, database)| {
            let mut endpoints = FirstEndpoints::default();
            open.of(slot).iter().for_each(|endpoint| endpoints.add(endpoint.destination, endpoint.mode));
            (slot, endpoints.samples(slot, &database.sources, live))
        })
        .collect()
}

/// The first endpoint of a database per address family.
#[derive(Debug, Clone, Copy, Default)]
struct FirstEndpoints {
    v4: Option<(Destination, Mode)>,
    v6: Option<(Destination, Mode)>,
}

impl FirstEndpoints {
    fn add(&mut self, destination: Destination, mode: Mode) {
        let endpoint = Some((destination, mode));
        match destination.address {
            Some(IpAddr::V4(_)) => self.v4 = self.v4.or(endpoint),
            Some(IpAddr::V6(_)) => self.v6 = self.v6.or(endpoint),
            None => (self.v4, self.v6) = (self.v4.or(endpoint), self.v6.or(endpoint)),
        }
    }

    fn samples(
        &self,
        slot: DatabaseSlot,
        PrefixMap { v4, v6 }: &PrefixMap<CounterId>,
        live: &Live,
    ) -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut add =
            |endpoint: Option<(Destination, Mode)>, allowed: Option<IpAddr>, refused: Option<IpAddr>| {
                let Some((destination, mode)) = endpoint else { return };
                let refused = refused.filter(|_| mode == Mode::Enforce);
                for (source, passes) in [(allowed, true), (refused, false)] {
                    let question = source.and_then(|source| Question::new(source, destination, live));
                    samples.extend(question.map(|question| Sample { question, passes }));
                }
            };
        let is_free = |source: &IpAddr| live.blocks.blocking(*source, slot).is_none();
        let first = v4.keys().map(|net| IpAddr::V4(net.network())).find(is_free);
        add(self.v4, first, outside_v4(v4).map(IpAddr::V4));
        let first = v6.keys().map(|net| IpAddr::V6(net.network())).find(is_free);
        add(self.v6, first, outside_v6(v6).map(IpAddr::V6));
        samples
    }
}

/// The lowest address from 1.0.0.0 on outside every prefix.
fn outside_v4(list: &BTreeMap<Ipv4Net, CounterId>) -> Option<Ipv4Addr> {
    let covered =
        list.keys().map(|net| (u128::from(net.network().to_bits()), u128::from(net.broadcast().to_bits())));
    let free = outside(0x0100_0000, covered)?;
    u32::try_from(free).ok().map(Ipv4Addr::from_bits)
}

/// The lowest address from 2000:: on outside every prefix.
fn outside_v6(list: &BTreeMap<Ipv6Net, CounterId>) -> Option<Ipv6Addr> {
    let covered = list.keys().map(|net| (net.network().to_bits(), net.broadcast().to_bits()));
    outside(0x2000 << 112, covered).map(Ipv6Addr::from_bits)
}

/// The lowest number from `start` on outside every closed interval; intervals are ordered by start.
fn outside(start: u128, covered: impl Iterator<Item = (u128, u128)>) -> Option<u128> {
    let mut free = start;
    for (first, last) in covered {
        if first > free {
            break;
        }
        free = free.max(last.checked_add(1)?);
    }
    Some(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_source_is_chosen_from_the_first_gap() {
        let v4 = |nets: &[&str]| {
            let list = nets.iter().map(|net| (net.parse().unwrap(), CounterId(1))).collect();
            outside_v4(&list).map(|address| address.to_string())
        };
        assert_eq!(v4(&[]).as_deref(), Some("1.0.0.0"));
        assert_eq!(v4(&["0.0.0.0/0"]), None);
        assert_eq!(v4(&["0.0.0.0/1", "10.0.0.0/8"]).as_deref(), Some("128.0.0.0"));
        assert_eq!(v4(&["1.0.0.0/24", "1.0.1.0/25", "1.0.1.0/32"]).as_deref(), Some("1.0.1.128"));
        assert_eq!(v4(&["203.0.113.0/24"]).as_deref(), Some("1.0.0.0"));
        assert_eq!(v4(&["0.0.0.0/1", "128.0.0.0/1"]), None);
        let v6 = |nets: &[&str]| {
            let list = nets.iter().map(|net| (net.parse().unwrap(), CounterId(1))).collect();
            outside_v6(&list).map(|address| address.to_string())
        };
        assert_eq!(v6(&["2000::/3"]).as_deref(), Some("4000::"));
        assert_eq!(v6(&["::/0"]), None);
    }
}
