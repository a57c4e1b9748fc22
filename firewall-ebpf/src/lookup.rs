//! Access to the maps, as the decision needs it: implemented over the kernel's maps in `tables`, and over collections
//! in the unit tests.

use firewall_common::{
    ADDRESS_INDEX, ANY_FAMILY, CachedEndpoint, CachedVerdict, Endpoint, EndpointKey, PortWord, packet::Flow,
};

use crate::{
    aligned::Aligned,
    decide::Decision,
    portless::{PortlessRule, PortlessWalk},
};

/// Result of a lookup in the block lists, as one number: a function of the kernel's program returns no more.
#[derive(Clone, Copy)]
pub struct Block(pub u64);

impl Block {
    const FOUND: u64 = 1 << 32;
    const SEARCHED: u64 = 1 << 33;

    #[inline(always)]
    pub fn new(rule: Option<u32>) -> Self {
        Self(match rule {
            Some(rule) => Self::FOUND | u64::from(rule),
            None => 0,
        })
    }

    /// The same, after the lookup in a list.
    #[inline(always)]
    pub fn searched(self) -> Self {
        Self(self.0 | Self::SEARCHED)
    }

    /// 1 if a list was searched, 0 otherwise: then the lookup costs next to nothing.
    #[inline(always)]
    pub fn is_searched(self) -> u64 {
        self.0 >> 33 & 1
    }

    /// 1 if an entry refuses the source, 0 otherwise.
    #[inline(always)]
    pub fn is_found(self) -> u32 {
        (self.0 >> 32) as u32 & 1
    }

    /// The rule counter of the entry.
    #[inline(always)]
    pub fn rule(self) -> u32 {
        self.0 as u32
    }
}

/// The published maps. `'a` is the time for which their values stay readable.
pub trait Maps<'a>: Copy {
    type Table: Table<'a>;

    /// Returns whether an acceleration (a bit of [`firewall_common::fast_path`]) is enabled.
    fn is_on(self, acceleration: u32) -> bool;
    /// The current generation; odd during a publish. Must be read before any lookup with a cached result.
    fn generation(self) -> u64;
    /// The 64 ports from `64 * word` on.
    fn ports(self, word: u32) -> Option<&'a PortWord>;
    /// Guarded ports that are closed to new connections only, among the 64 from `64 * word` on.
    fn new_connections(self, word: u32) -> Option<&'a u64>;
    /// The live endpoint table; `None` before the first publish. A packet takes it once, so that it sees a single table.
    fn live_table(self) -> Option<Self::Table>;
    /// Returns whether the database's allow list may contain the flow's source. Refuses most unknown sources without a
    /// trie lookup.
    fn may_allow(self, flow: &Flow, slot: u32) -> bool;
    /// The rule counter of the longest prefix that contains the flow's source, in the database's allow list of its
    /// family.
    fn source_rule(self, flow: &Flow, slot: u32) -> Option<u32>;
    /// The block list's entry that refuses the flow's source at endpoints of this database, or (with
    /// [`firewall_common::EVERY_ENDPOINT`]) at every endpoint.
    fn block(self, flow: &Flow, slot: u32) -> Block;
    /// The rule counter of an entry that refuses it at endpoints of this database alone. Without a function call, for which
    /// the walk over the members has no room on the stack.
    fn blocked_at_member(self, flow: &Flow, slot: u32) -> Option<u32>;
    /// The verdict of the flow's row: [`by_row`](crate::decide::by_row), out of the way of the packets with a cached
    /// verdict.
    fn by_row<E: Entries<CachedEndpoint>>(
        self,
        flow: &Flow,
        generation: u64,
        verdict: Option<&mut CachedVerdict>,
        endpoints: Option<&mut E>,
    ) -> Option<Decision>;
    /// The verdict of all databases at the flow's destination: [`decide_portless`](crate::portless::decide_portless).
    fn portless(self, flow: &Flow, rule: PortlessRule) -> Decision;
    /// Calls [`PortlessWalk::evaluate`] until it returns `false`.
    fn walk_members(self, walk: &mut PortlessWalk<'_, 'a, Self>);
}

/// An endpoint table.
pub trait Table<'a>: Copy {
    fn row(self, key: &EndpointKey) -> Option<&'a Endpoint>;

    /// The endpoint of the flow's port and protocol, at its address or (family [`ANY_FAMILY`]) at every address.
    #[inline(always)]
    fn endpoint(self, flow: &Flow, family: u8) -> Option<&'a Endpoint> {
        let address = if family == ANY_FAMILY { [0; 4] } else { flow.destination };
        self.row(&Aligned(EndpointKey { address, port: flow.port, protocol: flow.protocol, family }))
    }

    /// The first row of the address index of the flow's address, or the wildcard's when it has none of its own, with its
    /// key. `None` when neither exists.
    #[inline(always)]
    fn members(self, flow: &Flow) -> Option<(EndpointKey, &'a Endpoint)> {
        let mut key = Aligned(EndpointKey {
            address: flow.destination,
            port: 0,
            protocol: ADDRESS_INDEX,
            family: flow.family,
        });
        if let Some(first) = self.row(&key) {
            return Some((*key, first));
        }
        key.address = [0; 4];
        key.family = ANY_FAMILY;
        match self.row(&key) {
            Some(first) => Some((*key, first)),
            None => None,
        }
    }
}

/// The entries of a cache, of this CPU.
pub trait Entries<T> {
    /// The entry with this index; `None` when it is out of bounds.
    fn entry(&mut self, index: u32) -> Option<&mut T>;
}
