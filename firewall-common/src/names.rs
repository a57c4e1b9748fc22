//! Names of the kernel objects, identical in the object file, on bpffs and in messages.

/// Directory of this map layout below the agent's bpffs directory. Links live outside it, unversioned, so that older
/// and newer agents find them.
pub const LAYOUT: &str = "v1";

/// Directory of the published source tries in a layout's directory; shows an agent of another layout whether databases
/// are in force there.
pub const SOURCES_DIR: &str = "sources";

/// The attached program.
pub const FIREWALL: &str = "firewall";
/// The probe program, never attached: answers with a reason and a rule counter, and counts nothing.
pub const PROBE: &str = "probe";
/// Programs used by `cargo xtask bench` as a baseline; no agent loads them.
pub const MEASURED: [&str; 7] = [
    "empty_drop",
    "empty_pass",
    "parse_only",
    "new_source_drop",
    "new_source_pass",
    "new_source_send",
    "new_source_firewall",
];

/// Target of `firewall`'s tail call for a refused packet to be recorded. Never attached.
pub const RECORDER: &str = "recorder";
/// The recorder of the packet log build.
pub const PACKET_LOGGER: &str = "packet_logger";
/// Index of [`RECORDER`] in [`RECORDERS`].
pub const RECORDER_INDEX: u32 = 0;
/// Index of [`PACKET_LOGGER`] in [`RECORDERS`].
pub const PACKET_LOGGER_INDEX: u32 = 1;

/// `Array<PortWord, 1024>`: claimed and guarded ports; packets to all other ports pass.
pub const PORTS: &str = "PORTS";
/// `ArrayOfMaps<Hash<EndpointKey, Endpoint>, 1>`: the live endpoint table.
pub const ENDPOINTS: &str = "ENDPOINTS";
/// `ArrayOfMaps<LpmTrie<u32 × 1>, max_databases>`: IPv4 allow lists by database slot.
pub const SOURCES_V4: &str = "SOURCES_V4";
/// `ArrayOfMaps<LpmTrie<u32 × 4>, max_databases>`: IPv6 allow lists by database slot.
pub const SOURCES_V6: &str = "SOURCES_V6";
/// `PerCpuArray<Tally>`: packets and bytes by reason.
pub const REASONS: &str = "REASONS";
/// `PerCpuArray<Hits>`: packets, bytes and last hit by rule counter.
pub const RULE_HITS: &str = "RULE_HITS";
/// `Hash<u32, RuleRecord>`: metadata of the rule counters. Userspace only.
pub const RULES: &str = "RULES";
/// `Hash<u32, DatabaseRecord>`: metadata and stamps of the database slots. Userspace only.
pub const DATABASES: &str = "DATABASES";

/// `LruHash<Denial, Denials, 8192>`: refused sources.
pub const DENIALS: &str = "DENIALS";
/// `PerCpuArray<Sampler, 1>`: the samplers of refused packets.
pub const SAMPLER: &str = "SAMPLER";
/// `ProgramArray`, 2 entries: [`RECORDER`] and [`PACKET_LOGGER`].
pub const RECORDERS: &str = "RECORDERS";

/// `Array<u64, 1>`: the generation, changed by the agent after every publish; see [`crate::CachedVerdict`].
pub const GENERATION: &str = "GENERATION";
/// `PerCpuArray<CachedVerdict>`: the verdict cache.
pub const VERDICTS: &str = "VERDICTS";
/// `PerCpuArray<CachedEndpoint>`: the endpoint cache.
pub const ENDPOINT_CACHE: &str = "ENDPOINT_CACHE";
/// `Array<SourceFilter, max_databases>`: IPv4 source prefilters by database slot.
pub const PREFILTER_V4: &str = "PREFILTER_V4";
/// `Array<SourceFilter, max_databases>`: IPv6 source prefilters by database slot.
pub const PREFILTER_V6: &str = "PREFILTER_V6";

/// Every map pinned under its own name.
pub const MAPS: [&str; 16] = [
    PORTS,
    ENDPOINTS,
    SOURCES_V4,
    SOURCES_V6,
    REASONS,
    RULE_HITS,
    RULES,
    DATABASES,
    DENIALS,
    SAMPLER,
    RECORDERS,
    GENERATION,
    VERDICTS,
    ENDPOINT_CACHE,
    PREFILTER_V4,
    PREFILTER_V6,
];

/// The maps that determine verdicts. The last two do through the action that a recorder returns.
pub const DECIDING: [&str; 11] = [
    PORTS,
    ENDPOINTS,
    SOURCES_V4,
    SOURCES_V6,
    GENERATION,
    VERDICTS,
    ENDPOINT_CACHE,
    PREFILTER_V4,
    PREFILTER_V6,
    RECORDERS,
    SAMPLER,
];

/// Constant of the programs: the enabled [`crate::stages`].
pub const STAGES: &str = "STAGES";
