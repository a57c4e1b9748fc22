//! Digests of an allow list.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::model::{CounterId, Database, DatabaseSlot, Live};
use crate::rules::PrefixMap;

/// SHA-256 over the prefixes and their rule counters, in order: per prefix the family (4 or 6), the length, the address
/// octets, and the counter's index in little-endian order. Counter indices are local to this host.
#[must_use]
pub fn digest(sources: &PrefixMap<CounterId>) -> [u8; 32] {
    over(sources, |hash, counter| hash.update(counter.0.to_le_bytes()))
}

/// As [`digest`], without the counters: equal on every host that allows the same prefixes.
#[must_use]
pub fn common_digest(sources: &PrefixMap<CounterId>) -> [u8; 32] {
    over(sources, |_, _| ())
}

/// Common digests of published allow lists, each computed once.
#[derive(Debug, Default)]
pub struct CommonDigests(BTreeMap<DatabaseSlot, (Arc<PrefixMap<CounterId>>, [u8; 32])>);

impl CommonDigests {
    /// The [`common_digest`] of each live database. Discards those of the others.
    pub fn of<'a>(&mut self, live: &'a Live) -> impl Iterator<Item = (DatabaseSlot, &'a Database, [u8; 32])> {
        self.0.retain(|slot, _| live.databases.contains_key(slot));
        live.databases.iter().map(|(slot, database)| {
            let sources = &database.sources;
            let known = self.0.get(slot).filter(|(known, _)| Arc::ptr_eq(known, sources));
            let digest = known.map_or_else(|| common_digest(sources), |(_, digest)| *digest);
            self.0.insert(*slot, (Arc::clone(sources), digest));
            (*slot, database, digest)
        })
    }
}

fn over(sources: &PrefixMap<CounterId>, counter: impl Fn(&mut Sha256, CounterId)) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (net, id) in &sources.v4 {
        hash.update([4, net.prefix_len()]);
        hash.update(net.network().octets());
        counter(&mut hash, *id);
    }
    for (net, id) in &sources.v6 {
        hash.update([6, net.prefix_len()]);
        hash.update(net.network().octets());
        counter(&mut hash, *id);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_plane_can_compute_the_common_digest() {
        let mut sources = PrefixMap::new();
        sources.v6.insert("2001:db8::/32".parse().unwrap(), CounterId(3));
        sources.v4.insert("192.0.2.0/25".parse().unwrap(), CounterId(1));
        sources.v4.insert("192.0.2.0/24".parse().unwrap(), CounterId(2));
        let mut bytes = vec![4, 24, 192, 0, 2, 0, 4, 25, 192, 0, 2, 0, 6, 32, 0x20, 0x01, 0x0d, 0xb8];
        bytes.extend([0; 12]);
        let expected: [u8; 32] = Sha256::digest(&bytes).into();
        assert_eq!(common_digest(&sources), expected);
        sources.v4.insert("192.0.2.0/24".parse().unwrap(), CounterId(9));
        assert_eq!(common_digest(&sources), expected);
        assert_ne!(digest(&sources), expected);
    }

    #[test]
    fn digest_of_a_replaced_list_is_computed_again() {
        let database = |nets: &[&str]| Database {
            id: "a".parse().unwrap(),
            name: String::new(),
            default_counter: CounterId(1),
            floor: 1,
            stamp: None,
            sources: Arc::new(nets.iter().map(|net| (net.parse().unwrap(), CounterId(2))).collect()),
        };
        let (mut digests, mut live) = (CommonDigests::default(), Live::default());
        for nets in [&["192.0.2.0/24"][..], &["192.0.2.0/24"], &[], &["2001:db8::/32"]] {
            live.databases.insert(DatabaseSlot(3), database(nets));
            let found: Vec<[u8; 32]> = digests.of(&live).map(|(.., digest)| digest).collect();
            assert_eq!(found, [common_digest(&live.databases[&DatabaseSlot(3)].sources)], "{nets:?}");
        }
        live.databases.clear();
        assert_eq!((digests.of(&live).count(), digests.0.len()), (0, 0));
    }
}
