//! The faults that the tests must find.

use super::Mutant;

const ETHERNET: &str = "firewall-common/src/packet/ethernet.rs";
const IPV4: &str = "firewall-common/src/packet/ipv4.rs";
const IPV6: &str = "firewall-common/src/packet/ipv6.rs";
const WALK: &str = "firewall-common/src/packet/walk.rs";
const DECIDE: &str = "firewall-ebpf/src/decide.rs";
const TABLES: &str = "firewall-ebpf/src/tables.rs";
const MEMBERS: &str = "firewall-ebpf/src/members.rs";
const COUNT: &str = "firewall-ebpf/src/count.rs";
const FRAME: &str = "firewall-ebpf/src/frame.rs";
const DENIED: &str = "firewall-ebpf/src/denied.rs";
const RECORDER: &str = "firewall-ebpf/src/recorder.rs";

pub const MUTANTS: &[Mutant] = &[
    mutant("VLAN tags beyond the bound pass", ETHERNET, "=> Shape::VlanDepth", "=> Shape::NotIp"),
    mutant(
        "802.1ad tags are not looked through",
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
        "wildcard endpoints are not seen",
        DECIDE,
        "table.endpoint(flow, ANY_FAMILY)",
        "table.endpoint(flow, flow.family)",
    ),
    mutant(
        "later fragments pass",
        DECIDE,
        "Shape::LaterFragment => Quorum::Any",
        "Shape::LaterFragment => return Decision::without_rule(Reason::NotProtected)",
    ),
    mutant("any database may admit an unreadable chain", DECIDE, "Quorum::Every,", "Quorum::Any,"),
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
    mutant("what is closed at an address is forgotten", MEMBERS, "survey.closed = 1;", "survey.closed = 0;"),
    mutant(
        "monitored databases refuse",
        MEMBERS,
        "None if member.mode == MONITOR",
        "None if member.mode == TOMBSTONE",
    ),
    mutant("hits are not counted", COUNT, "(*hits).packets += 1;", ""),
    mutant(
        "bytes of the linear part only",
        FRAME,
        "bpf_xdp_get_buff_len(ctx.as_ptr().cast()) } as usize",
        "bpf_xdp_get_buff_len(ctx.as_ptr().cast()) }.min((ctx.data_end() - ctx.data()) as u64) as usize",
    ),
    mutant("what is written down passes", RECORDER, "    gate.action\n}", "    2\n}"),
    mutant("a record stands for one packet", DENIED, "gate.pending + u64::from(gate.drawn)", "1"),
    mutant("what follows a flood is charged with its rest", DENIED, "now - gate.tick > QUIET", "false"),
    mutant("every refused packet is written down", DENIED, "    if stride <= 1 {", "    if stride >= 1 {"),
];

const fn mutant(name: &'static str, file: &'static str, find: &'static str, replace: &'static str) -> Mutant {
    Mutant { name, file, find, replace }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_to_plant_a_fault_is_there_once() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for mutant in MUTANTS {
            let text = std::fs::read_to_string(root.join(mutant.file)).unwrap();
            assert_eq!(text.matches(mutant.find).count(), 1, "{}: {:?}", mutant.name, mutant.find);
        }
    }
}
