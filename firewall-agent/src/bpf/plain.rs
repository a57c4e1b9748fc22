//! The shared types as plain bytes, the form in which aya copies them.

use firewall_common::{
    DatabaseRecord, Denial, Denials, Endpoint, EndpointKey, Hits, PortWord, RuleRecord, Sampler,
    SourceFilter, Tally,
};

/// A map key or value of firewall-common.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub T);

macro_rules! plain {
    ($($shared:ty),+ $(,)?) => {
        $(
            // SAFETY: `#[repr(C)]` integers without padding (sizes asserted in firewall-common): every bit pattern
            // is a value, and every byte is initialised.
            unsafe impl aya::Pod for Plain<$shared> {}
        )+
    };
}

plain!(
    DatabaseRecord,
    Denial,
    Sampler,
    Denials,
    Endpoint,
    EndpointKey,
    Hits,
    PortWord,
    RuleRecord,
    SourceFilter,
    Tally,
);
