//! The fast path: verdict cache, endpoint cache and source prefilter. None of them changes a verdict.

use core::mem::{offset_of, size_of};

use bytemuck::{Pod, Zeroable};

use crate::{Endpoint, EndpointKey, packet::Flow};

/// Bits of the program's constant [`crate::names::ACCELERATIONS`]: the enabled accelerations. The agent enables all that
/// the kernel supports; tests and benchmarks turn some off.
pub mod fast_path {
    /// Verdict cache ([`super::CachedVerdict`]).
    pub const VERDICTS: u32 = 1;
    /// Endpoint cache ([`super::CachedEndpoint`]).
    pub const ENDPOINTS: u32 = 2;
    /// Source prefilter ([`super::SourceFilter`]): refuses a source without a trie lookup when no prefix can match.
    pub const SOURCES: u32 = 4;
    /// Plain-header parse: reads the headers of the plainest packets at once.
    pub const HEADERS: u32 = 8;
    pub const ALL: u32 = VERDICTS | ENDPOINTS | SOURCES | HEADERS;
    /// Not an acceleration: refused packets are not recorded. The hand-over to the recorder is per-CPU state, like the
    /// caches.
    pub const UNRECORDED: u32 = 16;
}

/// Entries of the verdict cache of each CPU, one for each hash of a flow; a power of two. A flood of new sources meets
/// another entry in every packet: with four times as many, most of them are not in the processor's near caches.
pub const CACHED_VERDICTS: u32 = 1024;
/// Entries of the endpoint cache of each CPU; a power of two.
pub const CACHED_ENDPOINTS: u32 = 256;

/// The verdict about a flow, as a row of the endpoint table gave it.
///
/// An entry is valid only while `generation` is the current one. The program reads the generation **before** any
/// lookup, and the agent changes it **after** the last packet judged by the replaced tables. An entry with the current
/// generation therefore comes from the tables in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CachedVerdict {
    pub flow: Flow,
    /// The encoding of [`crate::Reason::answer`].
    pub answer: u32,
    pub generation: u64,
}

/// The row of the endpoint table for a destination; `generation` as in [`CachedVerdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CachedEndpoint {
    /// The packet's destination, even when the row is a wildcard's.
    pub key: EndpointKey,
    pub endpoint: Endpoint,
    pub generation: u64,
}

/// Bits of a [`SourceFilter`]: of ten thousand networks scattered over all addresses, every 26th source has one by
/// chance.
pub const FILTER_BITS: u32 = 1 << FILTER_LENGTH;
/// Length of the IPv4 prefixes that have a bit each.
pub const FILTER_LENGTH: u32 = 18;
/// Words of a [`SourceFilter`].
pub const FILTER_WORDS: usize = FILTER_BITS as usize / 64;

/// Source prefilter: the allow list of a database in one family, as a bitmap. Bit `n` is bit `n % 64` of word `n / 64`.
/// False positives are allowed, false negatives are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SourceFilter {
    pub words: [u64; FILTER_WORDS],
}

/// The bit of an IPv4 address, given in network byte order: the bit of its /18.
#[must_use]
#[inline(always)]
pub const fn filter_bit_v4(address: u32) -> u32 {
    u32::from_be(address) >> (32 - FILTER_LENGTH)
}

/// The bit of an IPv6 address, given by its first word in network byte order: a hash of its /32.
#[must_use]
#[inline(always)]
pub const fn filter_bit_v6(first_word: u32) -> u32 {
    first_word.wrapping_mul(0x9e37_79b1) >> (32 - FILTER_LENGTH)
}

const _: () = {
    assert!(CACHED_VERDICTS.is_power_of_two() && CACHED_ENDPOINTS.is_power_of_two());
    assert!(size_of::<Flow>() == 36);
    assert!(size_of::<CachedVerdict>() == 48);
    assert!(offset_of!(CachedVerdict, flow) == 0);
    assert!(offset_of!(CachedVerdict, answer) == 36);
    assert!(offset_of!(CachedVerdict, generation) == 40);
    assert!(size_of::<CachedEndpoint>() == 40);
    assert!(offset_of!(CachedEndpoint, key) == 0);
    assert!(offset_of!(CachedEndpoint, endpoint) == 20);
    assert!(offset_of!(CachedEndpoint, generation) == 32);
    assert!(size_of::<SourceFilter>() == 32_768);
};
