//! Per-CPU caches of verdicts and endpoints, valid until the next publish. An odd generation means that a publish is in
//! progress: then the caches are neither read nor written.

#[cfg(test)]
mod tests;

use firewall_common::{
    CACHED_ENDPOINTS, CACHED_VERDICTS, CachedEndpoint, CachedVerdict, Endpoint, EndpointKey, IPV6, Reason,
    fast_path, packet::Flow,
};

use crate::{
    decide::Decision,
    lookup::{Entries, Maps},
};

/// Both caches of a CPU.
pub struct Caches<V, E> {
    pub verdicts: V,
    pub endpoints: E,
}

/// The cache entry for a flow's verdict.
#[inline(always)]
pub fn verdict<'e, 'a>(
    entries: &'e mut impl Entries<CachedVerdict>,
    maps: impl Maps<'a>,
    flow: &Flow,
    generation: u64,
) -> Option<&'e mut CachedVerdict> {
    if !maps.is_on(fast_path::VERDICTS) || generation & 1 != 0 {
        return None;
    }
    let mut source = flow.source[0];
    if flow.family == IPV6 {
        source ^=
            flow.source[1].rotate_left(7) ^ flow.source[2].rotate_left(14) ^ flow.source[3].rotate_left(21);
    }
    let hash = (source ^ destination_hash(&flow.destination, flow)).wrapping_mul(0x9e37_79b1);
    entries.entry(hash >> (32 - CACHED_VERDICTS.trailing_zeros()))
}

/// The verdict in the entry, if it belongs to this flow and generation.
#[inline(always)]
pub fn decision(entry: &CachedVerdict, flow: &Flow, generation: u64) -> Option<Decision> {
    if entry.generation != generation || !same_flow(&entry.flow, flow) {
        return None;
    }
    Some(Decision::from_answer(entry.answer))
}

/// 1 if the entry is stale, 0 otherwise.
#[inline(always)]
pub fn staleness(entry: &CachedVerdict, generation: u64) -> u64 {
    nonzero(entry.generation ^ generation)
}

/// 1 for any number but 0, without a branch.
#[inline(always)]
fn nonzero(number: u64) -> u64 {
    (number | number.wrapping_neg()) >> 63
}

/// 1 if the entry refuses its flow, or would in enforce mode; 0 otherwise.
#[inline(always)]
pub fn refusal(entry: &CachedVerdict) -> u64 {
    nonzero(u64::from(entry.answer >> 24 ^ Reason::Allowed as u32))
}

#[inline(always)]
pub fn store(entry: &mut CachedVerdict, flow: &Flow, generation: u64, decision: Decision) {
    *entry = CachedVerdict { flow: *flow, answer: decision.answer(), generation };
}

#[inline(always)]
fn same_flow(one: &Flow, other: &Flow) -> bool {
    let word =
        |word: usize| one.source[word] ^ other.source[word] | one.destination[word] ^ other.destination[word];
    // One branch: each costs more than the words.
    if word(0) | one.transport() ^ other.transport() != 0 {
        return false;
    }
    other.family != IPV6 || word(1) | word(2) | word(3) == 0
}

/// The cache entry for a destination's row.
#[inline(always)]
pub fn endpoint<'e, 'a>(
    entries: &'e mut impl Entries<CachedEndpoint>,
    maps: impl Maps<'a>,
    flow: &Flow,
    generation: u64,
) -> Option<&'e mut CachedEndpoint> {
    if !maps.is_on(fast_path::ENDPOINTS) || generation & 1 != 0 {
        return None;
    }
    let hash = destination_hash(&flow.destination, flow).wrapping_mul(0x9e37_79b1);
    entries.entry(hash >> (32 - CACHED_ENDPOINTS.trailing_zeros()))
}

/// Returns whether the entry belongs to the flow's destination and to this generation.
#[inline(always)]
pub fn is_endpoint_of(entry: &CachedEndpoint, flow: &Flow, generation: u64) -> bool {
    let key = &entry.key;
    entry.generation == generation
        && key.address[0] == flow.destination[0]
        && key.port == flow.port
        && key.protocol == flow.protocol
        && key.family == flow.family
        && (flow.family != IPV6
            || key.address[1] == flow.destination[1]
                && key.address[2] == flow.destination[2]
                && key.address[3] == flow.destination[3])
}

#[inline(always)]
pub fn store_endpoint(entry: &mut CachedEndpoint, flow: &Flow, generation: u64, endpoint: &Endpoint) {
    let key = EndpointKey {
        address: flow.destination,
        port: flow.port,
        protocol: flow.protocol,
        family: flow.family,
    };
    *entry = CachedEndpoint { key, endpoint: *endpoint, generation };
}

#[inline(always)]
fn destination_hash(address: &[u32; 4], flow: &Flow) -> u32 {
    let mut word = address[0];
    if flow.family == IPV6 {
        word ^= address[1].rotate_left(7) ^ address[2].rotate_left(14) ^ address[3].rotate_left(21);
    }
    word.wrapping_mul(0x85eb_ca6b) ^ (u32::from(flow.port) << 16 | u32::from(flow.protocol))
}
