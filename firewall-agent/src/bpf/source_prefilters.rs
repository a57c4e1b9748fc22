//! Source prefilter: a bitmap per database. False positives are allowed, false negatives are not: bits are set before a
//! trie that needs them is live, and cleared after.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use firewall_common::{FILTER_BITS, FILTER_WORDS, SourceFilter};

use super::{
    convert::{Plain, Prefix},
    layouts::PinnedMaps,
};
use crate::{host::retry::patiently, sync::DatabaseSlot};

/// The filters of one address family.
pub(super) struct SourcePrefilters {
    filters: Array<MapData, Plain<SourceFilter>>,
    name: &'static str,
    /// Digest of the last write to each slot.
    written: BTreeMap<DatabaseSlot, u64>,
}

const CLEAR: SourceFilter = SourceFilter { words: [0; FILTER_WORDS] };
/// Sends every source to the trie.
const FULL: SourceFilter = SourceFilter { words: [u64::MAX; FILTER_WORDS] };

impl SourcePrefilters {
    pub fn open(maps: &PinnedMaps<'_>, name: &'static str) -> Result<Self> {
        Ok(Self { filters: Array::try_from(Map::Array(maps.open(name)?))?, name, written: BTreeMap::new() })
    }

    /// Adds the bits of `sources` to those that are set.
    pub fn widen<'a, P: Prefix + 'a>(
        &mut self,
        slot: DatabaseSlot,
        sources: impl Iterator<Item = &'a P>,
    ) -> Result<()> {
        let Plain(mut filter) = self.get(slot)?;
        for (word, more) in filter.words.iter_mut().zip(filter_of(sources).words) {
            *word |= more;
        }
        self.set(slot, filter)
    }

    /// Sets the bits of `sources` and no others. The kernel copies a filter byte by byte: a packet in between sees some
    /// bytes of either version; the bits of `sources` are set in both.
    pub fn narrow<'a, P: Prefix + 'a>(
        &mut self,
        slot: DatabaseSlot,
        sources: impl Iterator<Item = &'a P>,
    ) -> Result<()> {
        self.set(slot, filter_of(sources))
    }

    /// Sends every source to the trie.
    pub fn open_wide(&mut self, slot: DatabaseSlot) -> Result<()> {
        self.set(slot, FULL)
    }

    /// Returns whether the content of a slot differs from the last write to it.
    pub fn has_drifted(&self, slot: DatabaseSlot) -> Result<bool> {
        let Some(written) = self.written.get(&slot) else { return Ok(false) };
        Ok(digest(&self.get(slot)?.0) != *written)
    }

    fn get(&self, slot: DatabaseSlot) -> Result<Plain<SourceFilter>> {
        self.filters.get(&slot.0, 0).with_context(|| format!("cannot read slot {slot} of map {}", self.name))
    }

    fn set(&mut self, slot: DatabaseSlot, filter: SourceFilter) -> Result<()> {
        self.written.insert(slot, digest(&filter));
        if self.get(slot)?.0 == filter {
            return Ok(());
        }
        patiently(|| {
            let written = self.filters.set(slot.0, Plain(filter), 0);
            written.with_context(|| format!("cannot write slot {slot} of map {}", self.name))
        })
    }
}

/// Digest for comparison, made for speed: every drift check compares all filters.
fn digest(filter: &SourceFilter) -> u64 {
    let mut lanes = [1u64, 2, 3, 4];
    for words in filter.words.chunks_exact(lanes.len()) {
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = (lane.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
    lanes.into_iter().fold(0, |digest, lane| (digest ^ lane).wrapping_mul(0xff51_afd7_ed55_8ccd))
}

fn filter_of<'a, P: Prefix + 'a>(sources: impl Iterator<Item = &'a P>) -> SourceFilter {
    let mut filter = CLEAR;
    for bit in sources.flat_map(|prefix| prefix.filter_bits()) {
        filter.words[bit as usize / 64 % FILTER_WORDS] |= 1 << (bit % 64);
    }
    filter
}

/// Number of bits that a prefix of this length covers when each bit represents the first `prefix_bits` bits of an
/// address.
pub(super) fn bits_touched(length: u8, prefix_bits: u32) -> u32 {
    1u32.checked_shl(prefix_bits.saturating_sub(length.into())).unwrap_or(FILTER_BITS).min(FILTER_BITS)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use firewall_common::{filter_bit_v4, filter_bit_v6};
    use ipnet::{Ipv4Net, Ipv6Net};

    use super::*;

    fn has(filter: &SourceFilter, bit: u32) -> bool {
        filter.words[bit as usize / 64] >> (bit % 64) & 1 == 1
    }

    #[test]
    fn every_address_of_a_prefix_has_its_bit_at_any_length() {
        let mut rng = fastrand::Rng::with_seed(3);
        for length in 0..=32 {
            let net = Ipv4Net::new(Ipv4Addr::from(rng.u32(..)), length).unwrap().trunc();
            let filter = filter_of([net].iter());
            for _ in 0..1_000 {
                let host = Ipv4Addr::from(u32::from(net.network()) | rng.u32(..) & u32::from(net.hostmask()));
                assert!(has(&filter, filter_bit_v4(u32::from_ne_bytes(host.octets()))), "{net}: {host}");
            }
        }
        for length in 0..=128 {
            let net = Ipv6Net::new(Ipv6Addr::from(rng.u128(..)), length).unwrap().trunc();
            let filter = filter_of([net].iter());
            for _ in 0..1_000 {
                let host =
                    Ipv6Addr::from(u128::from(net.network()) | rng.u128(..) & u128::from(net.hostmask()));
                let first = host.octets().first_chunk().copied().map(u32::from_ne_bytes).unwrap();
                assert!(has(&filter, filter_bit_v6(first)), "{net}: {host}");
            }
        }
    }

    #[test]
    fn prefix_leaves_most_bits_clear() {
        let set = |filter: SourceFilter| filter.words.iter().map(|word| word.count_ones()).sum::<u32>();
        let v4 = |text: &str| filter_of([text.parse::<Ipv4Net>().unwrap()].iter());
        let v6 = |text: &str| filter_of([text.parse::<Ipv6Net>().unwrap()].iter());
        assert_eq!(set(v4("203.0.113.0/24")), 1);
        assert_eq!(set(v4("10.0.0.0/8")), 1_024);
        assert_eq!(set(v4("0.0.0.0/0")), FILTER_BITS);
        assert_eq!(set(v6("2001:db8::/48")), 1);
        assert!((200..=256).contains(&set(v6("2001:d00::/24"))));
        assert_eq!(set(v6("::/0")), FILTER_BITS);
    }
}
