//! Names of the kernel objects, the same in the object file, on bpffs and in messages.

/// Directory of this map layout below the agent's bpffs directory. Links live outside it, unversioned, so that an
/// older or a newer agent finds them.
pub const LAYOUT: &str = "v1";

/// Directory of the published source tries in a layout's directory: an agent of another layout sees by it whether
/// anything is in force there.
pub const SOURCES_DIR: &str = "sources";

/// The program that is attached.
pub const FIREWALL: &str = "firewall";
/// The program that is never attached: it answers questions and counts nothing.
pub const TWIN: &str = "twin";
/// Programs that `cargo xtask bench` measures it by, and no agent loads.
pub const MEASURED: [&str; 7] = [
    "empty_drop",
    "empty_pass",
    "parse_only",
    "new_source_drop",
    "new_source_pass",
    "new_source_send",
    "new_source_firewall",
];

/// The program that `firewall` goes over to with a refused packet that is written down. Never attached.
pub const RECORDER: &str = "recorder";
/// The program in its place in the build that tells of single packets.
pub const TELLER: &str = "teller";
/// Index of [`RECORDER`] in [`RECORDERS`].
pub const RECORDER_PLACE: u32 = 0;
/// Index of [`TELLER`] in [`RECORDERS`].
pub const TELLER_PLACE: u32 = 1;

/// `Array<PortWord, 1024>`: the ports at which anything is decided at all.
pub const PORTS: &str = "PORTS";
/// `ArrayOfMaps<Hash<EndpointKey, Endpoint>, 1>`: the one live endpoint table.
pub const ENDPOINTS: &str = "ENDPOINTS";
/// `ArrayOfMaps<LpmTrie<u32 × 1>, max_databases>`: the IPv4 sources that each database slot allows.
pub const SOURCES_V4: &str = "SOURCES_V4";
/// `ArrayOfMaps<LpmTrie<u32 × 4>, max_databases>`: the IPv6 sources that each database slot allows.
pub const SOURCES_V6: &str = "SOURCES_V6";
/// `PerCpuArray<Tally>`: packets and bytes by reason.
pub const REASONS: &str = "REASONS";
/// `PerCpuArray<Hits>`: packets, bytes and last hit by rule slot.
pub const RULE_HITS: &str = "RULE_HITS";
/// `Hash<u32, RuleRecord>`: whose a rule slot is. Written and read by userspace only.
pub const RULES: &str = "RULES";
/// `Hash<u32, DatabaseRecord>`: whose a database slot is, and which revision it holds. Userspace only.
pub const DATABASES: &str = "DATABASES";

/// `LruHash<Denial, Denials, 8192>`: who was refused.
pub const DENIALS: &str = "DENIALS";
/// `PerCpuArray<DenialGate, 1>`: which refused packets are written down, and how many they stand for.
pub const DENIAL_GATE: &str = "DENIAL_GATE";
/// `ProgramArray`, 2 entries: [`RECORDER`] and [`TELLER`].
pub const RECORDERS: &str = "RECORDERS";

/// `Array<u64, 1>`: moved by the agent after every publish, see [`crate::CachedVerdict`].
pub const GENERATION: &str = "GENERATION";
/// `PerCpuArray<CachedVerdict>`.
pub const VERDICTS: &str = "VERDICTS";
/// `PerCpuArray<CachedEndpoint>`.
pub const NEAR_ENDPOINTS: &str = "NEAR_ENDPOINTS";
/// `Array<SourceFilter, max_databases>`: where the IPv4 sources of each database slot are.
pub const NEAR_SOURCES_V4: &str = "NEAR_SOURCES_V4";
/// `Array<SourceFilter, max_databases>`: where the IPv6 sources of each database slot are.
pub const NEAR_SOURCES_V6: &str = "NEAR_SOURCES_V6";

/// Every map that is pinned under its own name.
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
    DENIAL_GATE,
    RECORDERS,
    GENERATION,
    VERDICTS,
    NEAR_ENDPOINTS,
    NEAR_SOURCES_V4,
    NEAR_SOURCES_V6,
];

/// The maps by which the program decides. The last two do by what a recorder returns.
pub const DECIDING: [&str; 11] = [
    PORTS,
    ENDPOINTS,
    SOURCES_V4,
    SOURCES_V6,
    GENERATION,
    VERDICTS,
    NEAR_ENDPOINTS,
    NEAR_SOURCES_V4,
    NEAR_SOURCES_V6,
    RECORDERS,
    DENIAL_GATE,
];

/// Constant of the programs: which of [`crate::stages`] are on.
pub const STAGES: &str = "STAGES";
