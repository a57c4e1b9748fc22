//! Prefixes of both address families, each with a value.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Canonical prefixes (no host bits) of both families, each with one value, such as its rule counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixMap<T> {
    pub v4: BTreeMap<Ipv4Net, T>,
    pub v6: BTreeMap<Ipv6Net, T>,
}

impl<T> PrefixMap<T> {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self { v4: BTreeMap::new(), v6: BTreeMap::new() }
    }

    /// Number of prefixes of both families.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Value of exactly this prefix.
    #[must_use]
    pub fn get(&self, net: &IpNet) -> Option<&T> {
        match net {
            IpNet::V4(net) => self.v4.get(net),
            IpNet::V6(net) => self.v6.get(net),
        }
    }

    /// Sets the value of a prefix without its host bits; returns the value before.
    pub fn insert(&mut self, net: IpNet, value: T) -> Option<T> {
        match net.trunc() {
            IpNet::V4(net) => self.v4.insert(net, value),
            IpNet::V6(net) => self.v6.insert(net, value),
        }
    }

    /// Every prefix and its value, IPv4 first, ordered by address and then length.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, &T)> {
        let v4 = self.v4.iter().map(|(net, value)| (IpNet::V4(*net), value));
        v4.chain(self.v6.iter().map(|(net, value)| (IpNet::V6(*net), value)))
    }

    /// Every prefix, in the same order.
    pub fn keys(&self) -> impl Iterator<Item = IpNet> {
        self.iter().map(|(net, _)| net)
    }

    /// The same map in less memory: a B-tree that was filled entry by entry has nodes that are half empty.
    #[must_use]
    pub fn packed(self) -> Self {
        Self { v4: self.v4.into_iter().collect(), v6: self.v6.into_iter().collect() }
    }

    /// The same prefixes with other values.
    #[must_use]
    pub fn map<U>(&self, value: impl Fn(IpNet, &T) -> U) -> PrefixMap<U> {
        PrefixMap {
            v4: self.v4.iter().map(|(net, old)| (*net, value(IpNet::V4(*net), old))).collect(),
            v6: self.v6.iter().map(|(net, old)| (*net, value(IpNet::V6(*net), old))).collect(),
        }
    }
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> FromIterator<(IpNet, T)> for PrefixMap<T> {
    fn from_iter<I: IntoIterator<Item = (IpNet, T)>>(prefixes: I) -> Self {
        let mut map = Self::new();
        prefixes.into_iter().for_each(|(net, value)| _ = map.insert(net, value));
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_listed_without_host_bits_ipv4_first() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let map: PrefixMap<u8> =
            [(net("2001:db8::1/32"), 3), (net("192.0.2.7/24"), 1), (net("192.0.2.0/25"), 2)]
                .into_iter()
                .collect();
        assert_eq!((map.len(), map.is_empty(), PrefixMap::<u8>::new().is_empty()), (3, false, true));
        let all: Vec<(String, u8)> = map.iter().map(|(net, value)| (net.to_string(), *value)).collect();
        let expected = [("192.0.2.0/24", 1), ("192.0.2.0/25", 2), ("2001:db8::/32", 3)];
        assert_eq!(all, expected.map(|(net, value)| (net.to_owned(), value)));
        assert_eq!(map.get(&net("2001:db8::/32")), Some(&3));
        assert_eq!(map.get(&net("192.0.2.0/26")), None);
        let longer = map.map(|net, value| net.prefix_len() + value);
        assert!(longer.keys().eq(map.keys()));
        assert_eq!(longer.get(&net("192.0.2.0/25")), Some(&27));
    }
}
