//! Per-CPU caches of verdicts and endpoints, valid until the next publish.

use firewall_common::{
    CACHED_ENDPOINTS, CACHED_VERDICTS, CachedEndpoint, CachedVerdict, Endpoint, EndpointKey, IPV6, Reason,
    packet::Flow, stages,
};

use crate::{
    accelerations::is_on,
    decide::Decision,
    maps::{ENDPOINT_CACHE, GENERATION, VERDICTS},
};

/// The current generation; odd during a publish, when the caches are neither read nor written. Must be read before any
/// lookup with a cached result.
#[inline(always)]
pub fn generation() -> u64 {
    match GENERATION.get_ptr(0) {
        // SAFETY: a live element of the map; volatile, so that the compiler does not move the read.
        Some(generation) => unsafe { generation.read_volatile() },
        None => 0,
    }
}

/// The cache entry for a flow's verdict.
#[inline(always)]
pub fn verdict(flow: &Flow, generation: u64) -> Option<*mut CachedVerdict> {
    if !is_on(stages::VERDICTS) || generation & 1 != 0 {
        return None;
    }
    let mut source = flow.source[0];
    if flow.family == IPV6 {
        source ^=
            flow.source[1].rotate_left(7) ^ flow.source[2].rotate_left(14) ^ flow.source[3].rotate_left(21);
    }
    let hash = (source ^ destination_hash(&flow.destination, flow)).wrapping_mul(0x9e37_79b1);
    VERDICTS.get_ptr_mut(hash >> (32 - CACHED_VERDICTS.trailing_zeros()))
}

/// The verdict in the entry, if it belongs to this flow and generation.
#[inline(always)]
pub fn recall(place: *mut CachedVerdict, flow: &Flow, generation: u64) -> Option<Decision> {
    // SAFETY: a per-CPU value of this CPU, which runs one XDP program at a time.
    let kept = unsafe { &*place };
    if kept.generation != generation || !same_flow(&kept.flow, flow) {
        return None;
    }
    let rule = kept.answer & 0x00ff_ffff;
    // The reasons that a row can give; a match, since the compiler may not trust a number from a map.
    let reason = match kept.answer >> 24 {
        ALLOWED => Reason::Allowed,
        NO_MATCH => Reason::NoMatch,
        WOULD_DENY => Reason::WouldDeny,
        _ => Reason::Closed,
    };
    Some(Decision { reason, rule })
}

const ALLOWED: u32 = Reason::Allowed as u32;
const NO_MATCH: u32 = Reason::NoMatch as u32;
const WOULD_DENY: u32 = Reason::WouldDeny as u32;

/// Returns whether the entry is stale.
#[inline(always)]
pub fn is_free(place: *mut CachedVerdict, generation: u64) -> bool {
    // SAFETY: as above.
    unsafe { (*place).generation != generation }
}

#[inline(always)]
pub fn keep(place: *mut CachedVerdict, flow: &Flow, generation: u64, decision: &Decision) {
    let answer = decision.reason.answer(decision.rule);
    // SAFETY: as above.
    unsafe { *place = CachedVerdict { flow: *flow, answer, generation } };
}

#[inline(always)]
fn same_flow(one: &Flow, other: &Flow) -> bool {
    one.source[0] == other.source[0]
        && one.destination[0] == other.destination[0]
        && one.port == other.port
        && one.protocol == other.protocol
        && one.family == other.family
        && (other.family != IPV6
            || one.source[1] == other.source[1]
                && one.source[2] == other.source[2]
                && one.source[3] == other.source[3]
                && one.destination[1] == other.destination[1]
                && one.destination[2] == other.destination[2]
                && one.destination[3] == other.destination[3])
}

/// The cache entry for a destination's row.
#[inline(always)]
pub fn endpoint(flow: &Flow, generation: u64) -> Option<*mut CachedEndpoint> {
    if !is_on(stages::ENDPOINTS) || generation & 1 != 0 {
        return None;
    }
    let hash = destination_hash(&flow.destination, flow).wrapping_mul(0x9e37_79b1);
    ENDPOINT_CACHE.get_ptr_mut(hash >> (32 - CACHED_ENDPOINTS.trailing_zeros()))
}

#[inline(always)]
pub fn recall_endpoint(
    place: *mut CachedEndpoint,
    flow: &Flow,
    generation: u64,
) -> Option<&'static Endpoint> {
    // SAFETY: a per-CPU value of this CPU, which runs one XDP program at a time, and valid as long as the program runs.
    let kept = unsafe { &*place };
    let key = &kept.key;
    let same = kept.generation == generation
        && key.address[0] == flow.destination[0]
        && key.port == flow.port
        && key.protocol == flow.protocol
        && key.family == flow.family
        && (flow.family != IPV6
            || key.address[1] == flow.destination[1]
                && key.address[2] == flow.destination[2]
                && key.address[3] == flow.destination[3]);
    if same { Some(&kept.endpoint) } else { None }
}

#[inline(always)]
pub fn keep_endpoint(place: *mut CachedEndpoint, flow: &Flow, generation: u64, endpoint: &Endpoint) {
    let key = EndpointKey {
        address: flow.destination,
        port: flow.port,
        protocol: flow.protocol,
        family: flow.family,
    };
    // SAFETY: as above.
    unsafe { *place = CachedEndpoint { key, endpoint: *endpoint, generation } };
}

#[inline(always)]
fn destination_hash(address: &[u32; 4], flow: &Flow) -> u32 {
    let mut word = address[0];
    if flow.family == IPV6 {
        word ^= address[1].rotate_left(7) ^ address[2].rotate_left(14) ^ address[3].rotate_left(21);
    }
    word.wrapping_mul(0x85eb_ca6b) ^ (u32::from(flow.port) << 16 | u32::from(flow.protocol))
}
