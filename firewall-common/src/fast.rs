//! What stands in front of the tries and saves the walk: it never changes a verdict.

use core::mem::{offset_of, size_of};

use crate::{Endpoint, EndpointKey, packet::Flow};

/// Bits of the program's constant [`crate::names::STAGES`]: which stages stand in front of the tries. All that fit the
/// kernel, but where a test or a measurement leaves some out.
pub mod stages {
    /// Verdicts of the last packets are kept ([`super::CachedVerdict`]).
    pub const VERDICTS: u32 = 1;
    /// Endpoints of the last packets are kept ([`super::CachedEndpoint`]).
    pub const ENDPOINTS: u32 = 2;
    /// Sources that no prefix comes near are refused by a bitmap ([`super::SourceFilter`]).
    pub const SOURCES: u32 = 4;
    /// The headers of the plainest packets are read at once.
    pub const HEADERS: u32 = 8;
    pub const ALL: u32 = VERDICTS | ENDPOINTS | SOURCES | HEADERS;
    /// No stage: refused packets are not written down. What is handed on for that is kept per CPU, too.
    pub const UNRECORDED: u32 = 16;
}

/// Verdicts that each CPU keeps, one place for each hash of a flow; a power of two.
pub const CACHED_VERDICTS: u32 = 4096;
/// Endpoints that each CPU keeps; a power of two.
pub const CACHED_ENDPOINTS: u32 = 256;

/// The verdict about a flow, as a row of the endpoint table gave it.
///
/// It counts only while `generation` is the current one. The program reads the generation **before** it looks anything
/// up, and the agent moves it **after** no packet is judged by what it replaced any more; so what carries the current
/// generation was looked up in what is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CachedVerdict {
    pub flow: Flow,
    /// As [`crate::Reason::answer`] makes it.
    pub answer: u32,
    pub generation: u64,
}

/// The row of the endpoint table for a destination; `generation` as in [`CachedVerdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CachedEndpoint {
    /// The destination itself, also when the row is a wildcard's.
    pub key: EndpointKey,
    pub endpoint: Endpoint,
    pub generation: u64,
}

/// Bits of a [`SourceFilter`].
pub const FILTER_BITS: u32 = 1 << 16;
/// Words of a [`SourceFilter`].
pub const FILTER_WORDS: usize = FILTER_BITS as usize / 64;

/// A database's allow list in one family, seen from afar: bit `n` is bit `n % 64` of word `n / 64`. A bit may be set
/// though no prefix is near; where a prefix is near it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SourceFilter {
    pub words: [u64; FILTER_WORDS],
}

/// The bit of an IPv4 address, a word as on the wire: that of its /16.
#[must_use]
#[inline(always)]
pub const fn filter_bit_v4(address: u32) -> u32 {
    u32::from_be(address) >> 16
}

/// The bit of an IPv6 address, its first word as on the wire: a hash of its /32.
#[must_use]
#[inline(always)]
pub const fn filter_bit_v6(first_word: u32) -> u32 {
    first_word.wrapping_mul(0x9e37_79b1) >> 16
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
    assert!(size_of::<SourceFilter>() == 8192);
};
