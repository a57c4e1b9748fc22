//! Mutants of the data plane and the agent that the tests must kill.

use super::{Mutant, OWN};

const ETHERNET: &str = "firewall-common/src/packet/ethernet.rs";
const IPV4: &str = "firewall-common/src/packet/ipv4.rs";
const IPV6: &str = "firewall-common/src/packet/ipv6.rs";
const WALK: &str = "firewall-common/src/packet/walk.rs";
const DECIDE: &str = "firewall-ebpf/src/decide.rs";
const TABLES: &str = "firewall-ebpf/src/tables.rs";
const PORTLESS: &str = "firewall-ebpf/src/portless.rs";
const COUNT: &str = "firewall-ebpf/src/count.rs";
const FRAME: &str = "firewall-ebpf/src/frame.rs";
const CACHE: &str = "firewall-ebpf/src/cache.rs";
const KERNEL: &str = "firewall-agent/src/bpf/kernel.rs";
const CONVERT: &str = "firewall-agent/src/bpf/convert.rs";
const SAMPLER: &str = "firewall-ebpf/src/sampler.rs";
const CLOCK: &str = "firewall-agent/src/sync/clock.rs";
const ADMIT: &str = "firewall-agent/src/sync/admit.rs";
const COUNTERS: &str = "firewall-agent/src/sync/counters.rs";
const ACCEPTED: &str = "firewall-agent/src/sync/accepted.rs";
const RECONCILE: &str = "firewall-agent/src/agent/reconcile.rs";
const RECORDER: &str = "firewall-ebpf/src/recorder.rs";

pub const MUTANTS: &[Mutant] = &[
    mutant("VLAN tags beyond the bound pass", ETHERNET, "=> Shape::VlanDepth", "=> Shape::NotIp"),
    mutant(
        "802.1ad tags are not skipped",
        ETHERNET,
        "ethertype == TYPE_8021Q || ethertype == TYPE_8021AD",
        "ethertype == TYPE_8021Q",
    ),
    mutant("IHL is ignored", IPV4, "at: at + header,", "at: at + HEADER,"),
    mutant("padding is read as headers", IPV4, "packet.frame_len().min(at + total)", "packet.frame_len()"),
    mutant("a broken total length passes on", IPV4, "total < header || ", ""),
    mutant(
        "payload length 0 ends the packet",
        IPV6,
        "payload == 0 && next == HOP_BY_HOP",
        "false && next == HOP_BY_HOP",
    ),
    mutant("AH is as long as other headers", WALK, "(length + 2) * 4", "(length + 1) * 8"),
    mutant("the walk ends too early", WALK, "for _ in 0..MAX_HEADERS", "for _ in 0..MAX_HEADERS - 1"),
    mutant(
        "an overlong chain has no ports, but passes",
        WALK,
        "return Shape::Unreadable;\n    }\n    transport",
        "return Shape::OtherProtocol;\n    }\n    transport",
    ),
    mutant("later IPv6 fragments are read on", WALK, "offset_and_more & 0xfff8 != 0", "false"),
    mutant(
        "a TCP header cut short is judged",
        WALK,
        "(header, Shape::Truncated)",
        "(PORTS, Shape::Truncated)",
    ),
    mutant("ports in the wrong byte order", DECIDE, "u16::from_be(flow.port)", "flow.port"),
    mutant("guarded ports are open", DECIDE, "{ Reason::Closed } else", "{ Reason::NotProtected } else"),
    mutant(
        "tombstones are open",
        DECIDE,
        "endpoint.mode == TOMBSTONE",
        "endpoint.mode == TOMBSTONE && endpoint.slot != 0",
    ),
    mutant(
        "wildcard endpoints are not looked up",
        DECIDE,
        "table.endpoint(flow, ANY_FAMILY)",
        "table.endpoint(flow, flow.family)",
    ),
    mutant(
        "later fragments pass",
        DECIDE,
        "Shape::LaterFragment => PortlessRule::Any",
        "Shape::LaterFragment => return Decision::without_rule(Reason::NotProtected)",
    ),
    mutant(
        "any database may admit an unreadable chain",
        DECIDE,
        "PortlessRule::Every,",
        "PortlessRule::Any,",
    ),
    mutant(
        "one trie for both families",
        TABLES,
        "SOURCES_V6.get(slot)?.get(&Key::new(128, flow.source)).copied()",
        "SOURCES_V4.get(slot)?.get(&Key::new(32, [flow.source[0]])).copied()",
    ),
    mutant(
        "prefixes match by their first 24 bits",
        TABLES,
        "Key::new(32, [flow.source[0]])",
        "Key::new(24, [flow.source[0]])",
    ),
    mutant("closed destinations of an address are ignored", PORTLESS, "self.closed = 1;", "self.closed = 0;"),
    mutant(
        "monitored databases refuse",
        PORTLESS,
        "None if member.mode == MONITOR",
        "None if member.mode == TOMBSTONE",
    ),
    mutant("hits are not counted", COUNT, "(*hits).packets += 1;", ""),
    mutant(
        "bytes of the linear part only",
        FRAME,
        "bpf_xdp_get_buff_len(self.ctx) } as usize",
        "bpf_xdp_get_buff_len(self.ctx) }.min((self.end - self.start) as u64) as usize",
    ),
    mutant("first fragments are plain", FRAME, "            || fragment & FRAGMENT != 0\n", ""),
    mutant("a TCP header cut short is plain", FRAME, "            || total < needed\n", ""),
    mutant("options are plain", FRAME, "[0xff, 0xff, 0xff, 0]", "[0xff, 0xff, 0xf0, 0]"),
    mutant(
        "a packet beyond the linear part is plain",
        FRAME,
        "            || ETHERNET + total > linear\n",
        "",
    ),
    mutant("every protocol is plain", FRAME, "            || protocol != TCP && protocol != UDP\n", ""),
    mutant("cached verdicts of any generation count", CACHE, "entry.generation != generation || ", ""),
    mutant(
        "cached endpoints of any generation count",
        CACHE,
        "entry.generation == generation\n        && key",
        "key",
    ),
    mutant(
        "cached verdicts count for every source",
        CACHE,
        "one.source[0] == other.source[0]\n        && ",
        "",
    ),
    mutant("cached verdicts count for every port", CACHE, "&& one.port == other.port", ""),
    mutant(
        "IPv6 sources are compared by their first 32 bits",
        CACHE,
        "|| one.source[1] == other.source[1]\n                && one.source[2] == other.source[2]\n                && one.source[3] == other.source[3]\n                && one",
        "|| one",
    ),
    mutant(
        "cached denials are admissions",
        CACHE,
        "NO_MATCH => Reason::NoMatch",
        "NO_MATCH => Reason::Allowed",
    ),
    mutant(
        "cached verdicts lose their rule counter",
        CACHE,
        "let rule = entry.answer & 0x00ff_ffff;",
        "let rule = 0;",
    ),
    mutant(
        "the generation does not move with the endpoint table",
        KERNEL,
        "        self.generation.advance();\n        published",
        "        published",
    ),
    mutant(
        "a prefix shorter than a filter's bit sets one bit",
        CONVERT,
        "first + bits_touched(self.prefix_len(), 16)",
        "first + 1",
    ),
    publishing(
        "the generation does not move with allow lists",
        KERNEL,
        "failure: the other databases are in force.\n        self.generation.advance();",
        "failure.",
    ),
    publishing(
        "a source filter is narrowed before its trie is replaced",
        KERNEL,
        "self.prefilter_v4.widen(slot, v4.keys())?",
        "self.prefilter_v4.narrow(slot, v4.keys())?",
    ),
    publishing(
        "a source filter is widened after its trie is replaced",
        KERNEL,
        "self.prefilter_v6.widen(slot, v6.keys())?",
        "()",
    ),
    publishing(
        "cached verdicts count while allow lists are replaced",
        KERNEL,
        "        self.generation.suspend();\n        publish_family",
        "        publish_family",
    ),
    publishing(
        "cached endpoints count while the table is replaced",
        KERNEL,
        "        self.generation.suspend();\n        let published",
        "        let published",
    ),
    publishing(
        "verdicts are cached during a publish",
        CACHE,
        "fast_path::VERDICTS) || generation & 1 != 0",
        "fast_path::VERDICTS)",
    ),
    publishing(
        "endpoints are cached during a publish",
        CACHE,
        "fast_path::ENDPOINTS) || generation & 1 != 0",
        "fast_path::ENDPOINTS)",
    ),
    recording("a recorded packet passes", RECORDER, "    action\n}", "    2\n}"),
    recording("a sample has weight 1", SAMPLER, "    pending(totals)\n}", "    1\n}"),
    recording(
        "the packets after a flood are charged with its remainder",
        SAMPLER,
        "now - rate.tick > QUIET",
        "false",
    ),
    recording("every denied packet is recorded", SAMPLER, "    if stride <= 1 {", "    if stride >= 1 {"),
    following("older revisions are accepted", ADMIT, "if revision < floor {", "if floor == u64::MAX {"),
    following(
        "a stored file older than the kernel's counts",
        ACCEPTED,
        "candidate.rules.revision >= floor",
        "floor < u64::MAX",
    ),
    following(
        "the time of an expiry is not stored",
        RECONCILE,
        "&& self.accepted.next_expiry(stored).is_some_and(|at| at <= now)",
        "&& stored > mark",
    ),
    following(
        "a start trusts a clock that is ahead",
        CLOCK,
        "now: mark.unwrap_or(wall),",
        "now: mark.map_or(wall, |mark| mark.max(wall)),",
    ),
    following("a provisional time is stored", CLOCK, "established: mark.is_some(),", "established: true,"),
    following(
        "a synchronised step is untrusted",
        CLOCK,
        "self.now = wall.max(self.now);",
        "self.now = self.now.max(expected);",
    ),
    following(
        "a rule counter moves to another range",
        COUNTERS,
        "known.get(&(rule.id.clone(), range(kind))).copied()",
        "known.iter().find(|((id, _), _)| *id == rule.id).map(|(_, slot)| *slot)",
    ),
];

const fn mutant(name: &'static str, file: &'static str, find: &'static str, replace: &'static str) -> Mutant {
    Mutant { name, file, find, replace, targets: &["verdicts", "model"] }
}

/// A mutant of the recording of denied packets.
const fn recording(
    name: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
) -> Mutant {
    Mutant { name, file, find, replace, targets: &["verdicts", "denied"] }
}

/// A mutant of the event loop.
pub(super) const fn following(
    name: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
) -> Mutant {
    Mutant { name, file, find, replace, targets: &[OWN] }
}

/// A mutant that has an effect only during a publish.
const fn publishing(
    name: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
) -> Mutant {
    Mutant { name, file, find, replace, targets: &["publication"] }
}
