//! The maps, as described in firewall-common. Sizes of 1 are placeholders: the agent sets them when it loads the
//! program, or creates the inner maps itself.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_F_RDONLY_PROG},
    btf_maps::{
        Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, LruPerCpuHashMap, PerCpuArray, ProgramArray,
    },
    helpers::generated::bpf_map_lookup_elem,
    macros::btf_map,
};
use firewall_common::{
    BLOCK_LISTS, CACHED_ENDPOINTS, CACHED_VERDICTS, CachedEndpoint, CachedVerdict, CpuState, DENIALS_SIZE,
    DatabaseRecord, Denial, Denials, Endpoint, EndpointKey, Hits, PORT_WORDS, PortWord, RuleRecord,
    SOCKET_DENIALS_SIZE, SOCKET_TRAFFIC_SIZE, Sampler, SocketDenial, SocketMark, SocketTraffic, SourceFilter,
    Tally,
};

use crate::socket_storage::InheritedStorage;

/// Published maps are frozen for userspace and, by this flag, read-only for programs.
pub const FROZEN: usize = BPF_F_RDONLY_PROG as usize;
const FROZEN_TRIE: usize = FROZEN | BPF_F_NO_PREALLOC as usize;
const BY_USE: usize = BPF_F_NO_PREALLOC as usize;

type Sources<const N: usize> = LpmTrie<[u32; N], u32, 1, FROZEN_TRIE>;

/// The endpoint table. A row is an [`Endpoint`], described to the kernel as its numbers: Linux before 6.2 treats a map
/// with structures as values as another kind than one without type information, which the agent creates, and refuses it
/// in the outer map.
pub type EndpointTable = HashMap<EndpointKey, [u32; size_of::<Endpoint>() / size_of::<u32>()], 1, FROZEN>;

#[btf_map]
pub static PORTS: Array<PortWord, { PORT_WORDS as usize }> = Array::new();

#[btf_map]
pub static NEW_CONNECTIONS: Array<u64, { PORT_WORDS as usize }> = Array::new();

#[btf_map]
pub static ENDPOINTS: ArrayOfMaps<EndpointTable, 1> = ArrayOfMaps::new();

#[btf_map]
pub static SOURCES_V4: ArrayOfMaps<Sources<1>, 1> = ArrayOfMaps::new();

#[btf_map]
pub static SOURCES_V6: ArrayOfMaps<Sources<4>, 1> = ArrayOfMaps::new();

/// A block list: the key has a scope before the `N - 1` words of the address.
#[btf_map]
pub static BLOCKED_V4: ArrayOfMaps<Sources<2>, { BLOCK_LISTS as usize }> = ArrayOfMaps::new();

#[btf_map]
pub static BLOCKED_V6: ArrayOfMaps<Sources<5>, { BLOCK_LISTS as usize }> = ArrayOfMaps::new();

#[btf_map]
pub static CPU_STATE: PerCpuArray<CpuState, 1> = PerCpuArray::new();

#[btf_map]
pub static RULE_HITS: PerCpuArray<Hits, 1> = PerCpuArray::new();

#[btf_map]
pub static RULES: HashMap<u32, RuleRecord, 1, BY_USE> = HashMap::new();

#[btf_map]
pub static DATABASES: HashMap<u32, DatabaseRecord, 1, BY_USE> = HashMap::new();

/// The agent writes it through a memory mapping: a system call writes a value in pieces, and old and new pieces
/// together could be an older value for a moment.
#[btf_map]
pub static GENERATION: Array<u64, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
pub static VERDICTS: PerCpuArray<CachedVerdict, { CACHED_VERDICTS as usize }> = PerCpuArray::new();

#[btf_map]
pub static ENDPOINT_CACHE: PerCpuArray<CachedEndpoint, { CACHED_ENDPOINTS as usize }> = PerCpuArray::new();

#[btf_map]
pub static PREFILTER_V4: Array<SourceFilter, 1, FROZEN> = Array::new();

#[btf_map]
pub static PREFILTER_V6: Array<SourceFilter, 1, FROZEN> = Array::new();

#[btf_map]
pub static DENIALS: LruHashMap<Denial, Denials, { DENIALS_SIZE as usize }> = LruHashMap::new();

#[btf_map]
pub static RECORDERS: ProgramArray<2> = ProgramArray::new();

#[btf_map]
pub static SOCKETS: InheritedStorage<SocketMark> = InheritedStorage::new();

#[btf_map]
pub static SOCKET_TRAFFIC: LruPerCpuHashMap<SocketTraffic, Tally, { SOCKET_TRAFFIC_SIZE as usize }> =
    LruPerCpuHashMap::new();

#[btf_map]
pub static SOCKET_DENIALS: LruHashMap<SocketDenial, Denials, { SOCKET_DENIALS_SIZE as usize }> =
    LruHashMap::new();

#[btf_map]
pub static SOCKET_SAMPLER: PerCpuArray<Sampler, 1> = PerCpuArray::new();

/// The key of the only entry of an array. In memory of the program: a key on the stack would be written for each packet
/// and read back at once, for which the processor waits.
static FIRST: u32 = 0;

/// The entry of an array with only one.
#[inline(always)]
fn first<M>(map: &'static M) -> *mut c_void {
    let (map, key) = (core::ptr::from_ref(map), &raw const FIRST);
    // SAFETY: a map, and a key of the size that arrays have.
    unsafe { bpf_map_lookup_elem(map.cast_mut().cast(), key.cast()) }
}

/// The entry of [`GENERATION`].
#[inline(always)]
pub fn generation() -> *const u64 {
    first(&GENERATION).cast_const().cast()
}

/// The entry of [`CPU_STATE`], of this CPU.
#[inline(always)]
pub fn state_of_this_cpu() -> Option<&'static mut CpuState> {
    // SAFETY: null, or a per-CPU value of this CPU, which runs one program of a hook at a time.
    unsafe { first(&CPU_STATE).cast::<CpuState>().as_mut() }
}

/// Index in [`RECORDERS`].
#[cfg(not(feature = "packet-log"))]
pub const RECORDER: u32 = firewall_common::names::RECORDER_INDEX;
#[cfg(feature = "packet-log")]
pub const PACKET_LOGGER: u32 = firewall_common::names::PACKET_LOGGER_INDEX;
