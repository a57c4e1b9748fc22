//! Maps and caches of the unit tests: the traits of [`lookup`](crate::lookup) over collections.

use std::cell::Cell;
use std::collections::BTreeMap;

use bytemuck::Zeroable as _;
use firewall_common::{
    CACHED_ENDPOINTS, CACHED_VERDICTS, CachedEndpoint, CachedVerdict, EVERY_ENDPOINT, Endpoint, EndpointKey,
    IPV4, MAX_MEMBERS, PortWord, fast_path, packet::Flow,
};

use crate::cache::Caches;
use crate::decide::{Decision, by_row};
use crate::lookup::{Block, Entries, Maps, Table};
use crate::portless::{PortlessRule, PortlessWalk, decide_portless};

/// Number of TCP.
pub const TCP: u8 = 6;

/// An even generation, not that of an empty cache entry.
pub const GENERATION: u64 = 2;

/// The maps of a test.
#[derive(Default)]
pub struct FakeMaps {
    /// Disabled accelerations.
    pub off: u32,
    pub generation: u64,
    pub ports: BTreeMap<u32, PortWord>,
    pub new_connections: BTreeMap<u32, u64>,
    pub table: Option<BTreeMap<EndpointKey, Endpoint>>,
    /// First words of the allowed sources by slot, and the rule counter of each.
    pub allowed: BTreeMap<(u32, u32), u32>,
    /// First words of the sources that the prefilter lets through besides the allowed ones.
    pub false_positives: Vec<u32>,
    /// First words of the blocked sources, by slot or [`firewall_common::EVERY_ENDPOINT`], and the rule counter of each.
    pub blocked: BTreeMap<(u32, u32), u32>,
    /// Lookups in the endpoint table.
    pub rows: Cell<u32>,
    /// Lookups in the tries.
    pub searches: Cell<u32>,
}

impl FakeMaps {
    /// Maps with an endpoint at the destination and port of a flow.
    pub fn with_endpoint(flow: &Flow, endpoint: Endpoint) -> Self {
        let mut maps = Self { generation: GENERATION, ..Self::default() };
        maps.port(flow).claimed = u64::MAX;
        maps.table = Some(BTreeMap::from([(key(flow), endpoint)]));
        maps
    }

    /// The word of the flow's port.
    pub fn port(&mut self, flow: &Flow) -> &mut PortWord {
        self.ports.entry(u32::from(u16::from_be(flow.port)) / 64).or_default()
    }

    /// Adds a row to the endpoint table.
    pub fn row(&mut self, key: EndpointKey, endpoint: Endpoint) {
        self.table.get_or_insert_default().insert(key, endpoint);
    }
}

/// The key of a flow's own row.
pub fn key(flow: &Flow) -> EndpointKey {
    EndpointKey { address: flow.destination, port: flow.port, protocol: flow.protocol, family: flow.family }
}

/// A TCP packet between two IPv4 addresses, given as words.
pub fn flow(source: u32, destination: u32, port: u16) -> Flow {
    Flow {
        source: [source, 0, 0, 0],
        destination: [destination, 0, 0, 0],
        port: port.to_be(),
        protocol: TCP,
        family: IPV4,
    }
}

#[derive(Clone, Copy)]
pub struct FakeTable<'a>(&'a FakeMaps);

impl<'a> Table<'a> for FakeTable<'a> {
    fn row(self, key: &EndpointKey) -> Option<&'a Endpoint> {
        self.0.rows.set(self.0.rows.get() + 1);
        self.0.table.as_ref()?.get(key)
    }
}

impl<'a> Maps<'a> for &'a FakeMaps {
    type Table = FakeTable<'a>;

    fn is_on(self, acceleration: u32) -> bool {
        self.off & acceleration == 0
    }

    fn generation(self) -> u64 {
        self.generation
    }

    fn ports(self, word: u32) -> Option<&'a PortWord> {
        self.ports.get(&word)
    }

    fn new_connections(self, word: u32) -> Option<&'a u64> {
        self.new_connections.get(&word)
    }

    fn live_table(self) -> Option<FakeTable<'a>> {
        self.table.is_some().then_some(FakeTable(self))
    }

    fn may_allow(self, flow: &Flow, slot: u32) -> bool {
        let source = flow.source[0];
        !self.is_on(fast_path::SOURCES)
            || self.false_positives.contains(&source)
            || self.allowed.contains_key(&(slot, source))
    }

    fn source_rule(self, flow: &Flow, slot: u32) -> Option<u32> {
        self.searches.set(self.searches.get() + 1);
        self.allowed.get(&(slot, flow.source[0])).copied()
    }

    fn block(self, flow: &Flow, slot: u32) -> Block {
        let scopes = [EVERY_ENDPOINT, slot];
        let rule = scopes.into_iter().find_map(|scope| self.blocked.get(&(scope, flow.source[0])).copied());
        let block = Block::new(rule);
        if self.blocked.is_empty() { block } else { block.searched() }
    }

    fn blocked_at_member(self, flow: &Flow, slot: u32) -> Option<u32> {
        self.blocked.get(&(slot, flow.source[0])).copied()
    }

    fn by_row<E: Entries<CachedEndpoint>>(
        self,
        flow: &Flow,
        generation: u64,
        verdict: Option<&mut CachedVerdict>,
        endpoints: Option<&mut E>,
    ) -> Option<Decision> {
        by_row(flow, self, generation, verdict, endpoints)
    }

    fn portless(self, flow: &Flow, rule: PortlessRule) -> Decision {
        decide_portless(flow, self, rule)
    }

    fn walk_members(self, walk: &mut PortlessWalk<'_, 'a, Self>) {
        let _ = (0..=MAX_MEMBERS).all(|_| walk.evaluate());
    }
}

/// Caches in memory.
pub type FakeCaches = Caches<Vec<CachedVerdict>, Vec<CachedEndpoint>>;

/// Empty caches, as the kernel creates them.
pub fn empty_caches() -> FakeCaches {
    Caches {
        verdicts: vec![CachedVerdict::zeroed(); CACHED_VERDICTS as usize],
        endpoints: vec![CachedEndpoint::zeroed(); CACHED_ENDPOINTS as usize],
    }
}

impl<T> Entries<T> for Vec<T> {
    fn entry(&mut self, index: u32) -> Option<&mut T> {
        self.get_mut(index as usize)
    }
}
