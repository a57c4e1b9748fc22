//! One number for an allow list.

use sha2::{Digest as _, Sha256};

use super::model::Sources;

/// SHA-256 over the prefixes and their rule slots, in order: per prefix the family (4 or 6), the length, the address
/// octets, and the slot in little-endian order.
#[must_use]
pub fn digest(sources: &Sources) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (net, rule) in &sources.v4 {
        hash.update([4, net.prefix_len()]);
        hash.update(net.network().octets());
        hash.update(rule.to_le_bytes());
    }
    for (net, rule) in &sources.v6 {
        hash.update([6, net.prefix_len()]);
        hash.update(net.network().octets());
        hash.update(rule.to_le_bytes());
    }
    hash.finalize().into()
}
