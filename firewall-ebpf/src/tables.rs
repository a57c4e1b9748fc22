//! The traits of [`lookup`](crate::lookup) over the kernel's maps.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{btf_maps::lpm_trie::Key, helpers::generated::bpf_loop};
use firewall_common::{
    Address, BLOCKED_RANGES, CachedEndpoint, CachedVerdict, EVERY_ENDPOINT, Endpoint, EndpointKey,
    FILTER_WORDS, IPV4, LOCAL_BLOCKS, MAX_MEMBERS, NO_RULE, PortWord, Reason, fast_path, filter_bit_v4,
    filter_bit_v6, packet::Flow,
};

use crate::{
    accelerations::is_on,
    aligned::Aligned,
    cache::Caches,
    decide::{Decision, by_row},
    lookup::{Block, Entries, Maps, Table},
    maps::{
        BLOCKED_V4, BLOCKED_V6, ENDPOINT_CACHE, ENDPOINTS, EndpointTable, NEW_CONNECTIONS, PORTS,
        PREFILTER_V4, PREFILTER_V6, SOURCES_V4, SOURCES_V6, VERDICTS, generation,
    },
    portless::{PortlessRule, PortlessWalk, decide_portless},
};

/// The maps of this kernel.
#[derive(Clone, Copy)]
pub struct KernelMaps;

/// A published endpoint table.
#[derive(Clone, Copy)]
pub struct LiveTable(&'static EndpointTable);

pub struct VerdictEntries;
pub struct EndpointEntries;

/// The key of a source in an allow list of either family. Its words start at a multiple of 8 bytes, see
/// [`aligned`](crate::aligned).
#[repr(C, align(8))]
struct SourceKey {
    padding: MaybeUninit<u32>,
    key: Key<Address>,
}

impl SourceKey {
    #[inline(always)]
    fn new(flow: &Flow) -> Self {
        let length = if flow.family == IPV4 { 32 } else { 128 };
        Self { padding: MaybeUninit::uninit(), key: Key::new(length, flow.source) }
    }
}

/// The first `N` words of a key: that of an IPv4 source is the start of one for IPv6. A second key would take room on the
/// stack.
#[inline(always)]
fn shortened<const N: usize, const M: usize>(key: &Key<[u32; M]>) -> &Key<[u32; N]> {
    const { assert!(N < M) };
    // SAFETY: a prefix length and words, without padding; the shorter key is the start of the longer one.
    unsafe { &*core::ptr::from_ref(key).cast() }
}

/// The caches of this CPU.
pub type KernelCaches = Caches<VerdictEntries, EndpointEntries>;

pub const CACHES: KernelCaches = Caches { verdicts: VerdictEntries, endpoints: EndpointEntries };

impl Maps<'static> for KernelMaps {
    type Table = LiveTable;

    #[inline(always)]
    fn is_on(self, acceleration: u32) -> bool {
        is_on(acceleration)
    }

    #[inline(always)]
    fn generation(self) -> u64 {
        let generation = generation();
        if generation.is_null() {
            return 0;
        }
        // SAFETY: a live element of the map; volatile, so that the compiler does not move the read.
        unsafe { generation.read_volatile() }
    }

    #[inline(always)]
    fn ports(self, word: u32) -> Option<&'static PortWord> {
        PORTS.get(word)
    }

    #[inline(always)]
    fn new_connections(self, word: u32) -> Option<&'static u64> {
        NEW_CONNECTIONS.get(word)
    }

    #[inline(always)]
    fn live_table(self) -> Option<LiveTable> {
        ENDPOINTS.get(0).map(LiveTable)
    }

    #[inline(always)]
    fn may_allow(self, flow: &Flow, slot: u32) -> bool {
        if !is_on(fast_path::SOURCES) {
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

    #[inline(always)]
    fn source_rule(self, flow: &Flow, slot: u32) -> Option<u32> {
        let SourceKey { key, .. } = &SourceKey::new(flow);
        if flow.family == IPV4 {
            SOURCES_V4.get(slot)?.get(shortened(key)).copied()
        } else {
            SOURCES_V6.get(slot)?.get(key).copied()
        }
    }

    #[inline(always)]
    fn block(self, flow: &Flow, slot: u32) -> Block {
        // Most hosts have no list; a call costs more than this look.
        if has_block_list(BLOCKED_RANGES, flow) || has_block_list(LOCAL_BLOCKS, flow) {
            Block(find_block(flow, slot))
        } else {
            Block::new(None)
        }
    }

    #[inline(always)]
    fn blocked_at_member(self, flow: &Flow, slot: u32) -> Option<u32> {
        in_block_list(LOCAL_BLOCKS, slot, flow)
    }

    #[inline(always)]
    fn by_row<E: Entries<CachedEndpoint>>(
        self,
        flow: &Flow,
        generation: u64,
        verdict: Option<&mut CachedVerdict>,
        endpoints: Option<&mut E>,
    ) -> Option<Decision> {
        let verdict = verdict.map_or(core::ptr::null_mut(), core::ptr::from_mut);
        match judge_by_row(flow, generation, verdict, u32::from(endpoints.is_some())) {
            NO_ROW => None,
            answer => Some(Decision::from_answer(answer)),
        }
    }

    #[inline(always)]
    fn portless(self, flow: &Flow, rule: PortlessRule) -> Decision {
        Decision::from_answer(judge_portless(flow, rule as u32))
    }

    /// A loop in the kernel (5.17): the verifier follows one iteration, not each of a few hundred. The rows are one more
    /// than the members, for the tombstone.
    #[inline(always)]
    fn walk_members(self, walk: &mut PortlessWalk<'_, 'static, Self>) {
        let walk: *mut PortlessWalk<'_, 'static, Self> = walk;
        // SAFETY: `evaluate_member` has the signature that the kernel calls, and `walk` outlives the call.
        unsafe { bpf_loop(MAX_MEMBERS + 1, evaluate_member as *mut c_void, walk.cast(), 0) };
    }
}

/// An answer of no reason.
const NO_ROW: u32 = u32::MAX;

/// Answers with [`Reason::answer`] or [`NO_ROW`]; `is_cached` is 1 where the endpoint cache may be used. A global function
/// for the same reason as [`find_block`]; and most packets have a cached verdict, so that the code of the others would only
/// be in their way.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_by_row(
    flow: *const Flow,
    generation: u64,
    verdict: *mut CachedVerdict,
    is_cached: u32,
) -> u32 {
    // SAFETY: null, or the flow and the cache entry of this program run.
    let (flow, verdict) = unsafe { (flow.as_ref(), verdict.as_mut()) };
    let Some(flow) = flow else { return Reason::Closed.answer(NO_RULE) };
    let mut entries = EndpointEntries;
    let endpoints = if is_cached != 0 { Some(&mut entries) } else { None };
    match by_row(flow, KernelMaps, generation, verdict, endpoints) {
        Some(decision) => decision.answer(),
        None => NO_ROW,
    }
}

/// Answers with [`Reason::answer`]; `rule` is a [`PortlessRule`]. A global function for the same reason as [`find_block`],
/// and since the walk needs most of the stack that is left.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_portless(flow: *const Flow, rule: u32) -> u32 {
    // SAFETY: null, or the flow of this program run.
    let Some(flow) = (unsafe { flow.as_ref() }) else { return Reason::Closed.answer(NO_RULE) };
    let rule = if rule == PortlessRule::Every as u32 { PortlessRule::Every } else { PortlessRule::Any };
    decide_portless(flow, KernelMaps, rule).answer()
}

/// The entry that blocks the flow's source at this database, as a [`Block`]. A global function,
/// which the verifier checks once: inlined into each verdict, three more lookups would be more than it follows.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_block(flow: *const Flow, slot: u32) -> u64 {
    // SAFETY: null, or the flow of this program run.
    let Some(flow) = (unsafe { flow.as_ref() }) else { return Block::new(None).0 };
    let rule = match in_block_list(BLOCKED_RANGES, EVERY_ENDPOINT, flow) {
        Some(rule) => Some(rule),
        None => match in_block_list(LOCAL_BLOCKS, EVERY_ENDPOINT, flow) {
            Some(rule) => Some(rule),
            None => in_block_list(LOCAL_BLOCKS, slot, flow),
        },
    };
    let block = Block::new(rule);
    if has_block_list(BLOCKED_RANGES, flow) { block.searched().0 } else { block.0 }
}

/// Returns whether a list has ever had entries of the flow's family.
#[inline(always)]
fn has_block_list(list: u32, flow: &Flow) -> bool {
    if flow.family == IPV4 { BLOCKED_V4.get(list).is_some() } else { BLOCKED_V6.get(list).is_some() }
}

/// The rule counter of the longest prefix of this scope that contains the flow's source.
#[inline(always)]
fn in_block_list(list: u32, scope: u32, flow: &Flow) -> Option<u32> {
    let [first, second, third, fourth] = flow.source;
    let length = if flow.family == IPV4 { 64 } else { 160 };
    let key = &Aligned(Key::new(length, [scope, first, second, third, fourth]));
    if flow.family == IPV4 {
        BLOCKED_V4.get(list)?.get(shortened(key)).copied()
    } else {
        BLOCKED_V6.get(list)?.get(key).copied()
    }
}

const GO_ON: i64 = 0;
const STOP: i64 = 1;

extern "C" fn evaluate_member(_: u32, walk: *mut PortlessWalk<'_, 'static, KernelMaps>) -> i64 {
    // SAFETY: the kernel passes the pointer that `walk_members` gave it.
    let walk = unsafe { &mut *walk };
    if walk.evaluate() { GO_ON } else { STOP }
}

impl Table<'static> for LiveTable {
    #[inline(always)]
    fn row(self, key: &EndpointKey) -> Option<&'static Endpoint> {
        // SAFETY: a published table is frozen and read-only for programs; its rows never change, and the table itself
        // outlives every program run that uses it (RCU). A row is an `Endpoint`, which consists of such numbers only.
        unsafe { Some(&*core::ptr::from_ref(self.0.get(key)?).cast::<Endpoint>()) }
    }
}

impl Entries<CachedVerdict> for VerdictEntries {
    #[inline(always)]
    fn entry(&mut self, index: u32) -> Option<&mut CachedVerdict> {
        // SAFETY: a per-CPU value of this CPU, which runs one XDP program at a time; borrowed as long as `self`.
        VERDICTS.get_ptr_mut(index).map(|entry| unsafe { &mut *entry })
    }
}

impl Entries<CachedEndpoint> for EndpointEntries {
    #[inline(always)]
    fn entry(&mut self, index: u32) -> Option<&mut CachedEndpoint> {
        // SAFETY: as above.
        ENDPOINT_CACHE.get_ptr_mut(index).map(|entry| unsafe { &mut *entry })
    }
}
