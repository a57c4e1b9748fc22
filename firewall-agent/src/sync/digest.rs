//! One number for an allow list.

use sha2::{Digest as _, Sha256};

use super::model::{RuleSlot, Sources};

/// SHA-256 over the prefixes and their rule slots, in order: per prefix the family (4 or 6), the length, the address
/// octets, and the slot in little-endian order. Slots are this host's own.
#[must_use]
pub fn digest(sources: &Sources) -> [u8; 32] {
    over(sources, |hash, slot| hash.update(slot.to_le_bytes()))
}

/// As [`digest`], without the slots: the same on every host that allows the same prefixes.
#[must_use]
pub fn common_digest(sources: &Sources) -> [u8; 32] {
    over(sources, |_, _| ())
}

fn over(sources: &Sources, slot: impl Fn(&mut Sha256, RuleSlot)) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (net, line) in &sources.v4 {
        hash.update([4, net.prefix_len()]);
        hash.update(net.network().octets());
        slot(&mut hash, *line);
    }
    for (net, line) in &sources.v6 {
        hash.update([6, net.prefix_len()]);
        hash.update(net.network().octets());
        slot(&mut hash, *line);
    }
    hash.finalize().into()
}
