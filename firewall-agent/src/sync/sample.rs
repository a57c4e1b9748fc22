//! What each database is probed with: a source that it must let in, and one that it must refuse.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::model::{Claim, Destination, Live, RuleSlot, Slot, Sources};
use super::question::Question;
use crate::rules::Mode;

/// A packet and whether it must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub question: Question,
    pub passes: bool,
}

/// Up to one packet that must pass and one that must not, for each address family that a database's endpoints take. A
/// list of nothing lets nobody in, one of everything refuses nobody, and a database that is only watched neither.
#[must_use]
pub fn samples(slot: Slot, live: &Live) -> Vec<Sample> {
    let Some(database) = live.databases.get(&slot) else { return Vec::new() };
    let mut samples = Vec::new();
    let ours = live.table.endpoints.iter().filter_map(|(target, claim)| match claim {
        Claim::Open { slot: owner, mode, .. } if *owner == slot => Some((*target, *mode)),
        Claim::Open { .. } | Claim::Closed => None,
    });
    let (mut v4, mut v6) = (None, None);
    for (target, mode) in ours {
        match target.address {
            Some(IpAddr::V4(_)) => v4 = v4.or(Some((target, mode))),
            Some(IpAddr::V6(_)) => v6 = v6.or(Some((target, mode))),
            None => (v4, v6) = (v4.or(Some((target, mode))), v6.or(Some((target, mode)))),
        }
    }
    let mut add = |place: Option<(Destination, Mode)>, allowed: Option<IpAddr>, refused: Option<IpAddr>| {
        let Some((target, mode)) = place else { return };
        let refused = refused.filter(|_| mode == Mode::Enforce);
        for (source, passes) in [(allowed, true), (refused, false)] {
            let question = source.and_then(|source| Question::new(source, target, live));
            samples.extend(question.map(|question| Sample { question, passes }));
        }
    };
    let Sources { v4: v4_list, v6: v6_list } = &database.sources;
    add(v4, v4_list.keys().next().map(|net| IpAddr::V4(net.network())), outside_v4(v4_list).map(IpAddr::V4));
    add(v6, v6_list.keys().next().map(|net| IpAddr::V6(net.network())), outside_v6(v6_list).map(IpAddr::V6));
    samples
}

/// The lowest address from 1.0.0.0 on that no prefix holds.
fn outside_v4(list: &BTreeMap<Ipv4Net, RuleSlot>) -> Option<Ipv4Addr> {
    let taken =
        list.keys().map(|net| (u128::from(net.network().to_bits()), u128::from(net.broadcast().to_bits())));
    let free = outside(0x0100_0000, taken)?;
    u32::try_from(free).ok().map(Ipv4Addr::from_bits)
}

/// The lowest address from 2000:: on that no prefix holds.
fn outside_v6(list: &BTreeMap<Ipv6Net, RuleSlot>) -> Option<Ipv6Addr> {
    let taken = list.keys().map(|net| (net.network().to_bits(), net.broadcast().to_bits()));
    outside(0x2000 << 112, taken).map(Ipv6Addr::from_bits)
}

/// The lowest number from `start` on in none of the closed intervals, which come in the order of their starts.
fn outside(start: u128, taken: impl Iterator<Item = (u128, u128)>) -> Option<u128> {
    let mut free = start;
    for (first, last) in taken {
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
    fn a_source_outside_is_found_in_the_first_gap() {
        let v4 = |nets: &[&str]| {
            let list = nets.iter().map(|net| (net.parse().unwrap(), 1)).collect();
            outside_v4(&list).map(|address| address.to_string())
        };
        assert_eq!(v4(&[]).as_deref(), Some("1.0.0.0"));
        assert_eq!(v4(&["0.0.0.0/0"]), None);
        assert_eq!(v4(&["0.0.0.0/1", "10.0.0.0/8"]).as_deref(), Some("128.0.0.0"));
        assert_eq!(v4(&["1.0.0.0/24", "1.0.1.0/25", "1.0.1.0/32"]).as_deref(), Some("1.0.1.128"));
        assert_eq!(v4(&["203.0.113.0/24"]).as_deref(), Some("1.0.0.0"));
        assert_eq!(v4(&["0.0.0.0/1", "128.0.0.0/1"]), None);
        let v6 = |nets: &[&str]| {
            let list = nets.iter().map(|net| (net.parse().unwrap(), 1)).collect();
            outside_v6(&list).map(|address| address.to_string())
        };
        assert_eq!(v6(&["2000::/3"]).as_deref(), Some("4000::"));
        assert_eq!(v6(&["::/0"]), None);
    }
}
