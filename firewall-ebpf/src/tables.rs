//! Lookups in the published maps.

use aya_ebpf::btf_maps::lpm_trie::Key;
use firewall_common::{
    ANY_FAMILY, Endpoint, EndpointKey, FILTER_WORDS, IPV4, MEMBER_ROW, filter_bit_v4, filter_bit_v6,
    packet::Flow, stages,
};

use crate::{
    accelerations::is_on,
    maps::{ENDPOINTS, EndpointTable, PREFILTER_V4, PREFILTER_V6, SOURCES_V4, SOURCES_V6},
};

/// The live endpoint table. Its pointer is read once per packet, so that a packet sees a single table.
#[derive(Clone, Copy)]
pub struct Table(&'static EndpointTable);

impl Table {
    /// `None` before the first publish.
    #[inline(always)]
    pub fn live() -> Option<Self> {
        ENDPOINTS.get(0).map(Self)
    }

    /// The endpoint of the flow's port and protocol, at its address or (family [`ANY_FAMILY`]) at every address.
    #[inline(always)]
    pub fn endpoint(self, flow: &Flow, family: u8) -> Option<&'static Endpoint> {
        let address = if family == ANY_FAMILY { [0; 4] } else { flow.destination };
        self.row(&EndpointKey { address, port: flow.port, protocol: flow.protocol, family })
    }

    /// The key of the first member row of the flow's address, or the wildcard's when it has none of its own. `None`
    /// when neither exists.
    #[inline(always)]
    pub fn members(self, flow: &Flow) -> Option<EndpointKey> {
        let mut key =
            EndpointKey { address: flow.destination, port: 0, protocol: MEMBER_ROW, family: flow.family };
        if self.row(&key).is_some() {
            return Some(key);
        }
        key.address = [0; 4];
        key.family = ANY_FAMILY;
        if self.row(&key).is_some() { Some(key) } else { None }
    }

    #[inline(always)]
    pub fn row(self, key: &EndpointKey) -> Option<&'static Endpoint> {
        // SAFETY: a published table is frozen and read-only for programs; its rows never change, and the table itself
        // outlives every program run that uses it (RCU). A row is an `Endpoint`, which consists of such numbers only.
        unsafe { Some(&*core::ptr::from_ref(self.0.get(key)?).cast::<Endpoint>()) }
    }
}

/// Returns whether the database's allow list may contain the flow's source. Refuses most unknown sources without a trie
/// lookup.
#[inline(always)]
pub fn is_near(flow: &Flow, slot: u32) -> bool {
    if !is_on(stages::SOURCES) {
        return true;
    }
    let (filter, bit) = if flow.family == IPV4 {
        (PREFILTER_V4.get(slot), filter_bit_v4(flow.source[0]))
    } else {
        (PREFILTER_V6.get(slot), filter_bit_v6(flow.source[0]))
    };
    match filter {
        Some(filter) => filter.words[bit as usize / 64 % FILTER_WORDS] >> (bit % 64) & 1 != 0,
        None => true,
    }
}

/// The rule counter of the longest prefix that contains the flow's source, in the database's allow list of its family.
#[inline(always)]
pub fn source_rule(flow: &Flow, slot: u32) -> Option<u32> {
    if flow.family == IPV4 {
        SOURCES_V4.get(slot)?.get(&Key::new(32, [flow.source[0]])).copied()
    } else {
        SOURCES_V6.get(slot)?.get(&Key::new(128, flow.source)).copied()
    }
}
