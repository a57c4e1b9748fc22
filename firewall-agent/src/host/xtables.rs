//! Targets and matches of iptables, in the binary form that both iptables-legacy and iptables-nft give the kernel.

use netlink_packet_core::parse_ip;

use crate::audit::{NewPorts, SourcePorts, Translation};
use crate::rules::Protocol;

const NF_NAT_RANGE_MAP_IPS: u32 = 1;
const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;
/// Random and fully random.
const NF_NAT_RANGE_RANDOM: u32 = 4 | 16;

/// Effect of a target that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Rewrites the destination: the new one is in the translation.
    Destination,
    SourcePorts(SourcePorts),
}

/// Offsets in bytes of a target's range: flags, first address and its length, first port, last port.
struct Shape {
    flags: usize,
    address: usize,
    length: usize,
    first: usize,
    last: usize,
}

/// `nf_nat_range`, `nf_nat_range2`.
const RANGE: Shape = Shape { flags: 0, address: 4, length: 16, first: 36, last: 38 };
/// `nf_nat_ipv4_multi_range_compat`.
const COMPAT: Shape = Shape { flags: 4, address: 8, length: 4, first: 16, last: 18 };
const COMPAT_BYTES: usize = 20;

/// The effect of a target; fills in `found` as far as the new destination is known.
pub(super) fn target(name: &str, revision: u32, info: &[u8], found: &mut Translation) -> Option<Effect> {
    let is_compat = revision == 0 && info.len() < RANGE.last + 2 && info.len() >= COMPAT_BYTES;
    let shape = if is_compat { &COMPAT } else { &RANGE };
    match name {
        "DNAT" | "REDIRECT" => {
            found.new_ports = NewPorts::Unknown;
            if let Some((address, ports)) = range(info, shape) {
                (found.new_address, found.new_ports) = (address.and_then(address_of), ports);
            }
        }
        // Their addresses are not read.
        "NETMAP" => {}
        "RAWDNAT" => found.stateless = true,
        "TPROXY" => {
            // Mark and its mask, then address and port of the socket; port 0 is the packet's own, and so is the address
            // in every case.
            found.new_address = found.address;
            let port = info.get(if revision == 0 { 12 } else { 24 }..).and_then(|bytes| bytes.first_chunk());
            found.new_ports = match port.map(|port| u16::from_be_bytes(*port)) {
                Some(0) => NewPorts::Unchanged,
                Some(port) => NewPorts::To(port..=port),
                None => NewPorts::Unknown,
            };
        }
        "MASQUERADE" | "SNAT" => {
            let flags = info.get(shape.flags..).and_then(|bytes| bytes.first_chunk());
            let is_random = flags.is_some_and(|flags| u32::from_ne_bytes(*flags) & NF_NAT_RANGE_RANDOM != 0);
            let ports = match range(info, shape) {
                Some((_, NewPorts::To(ports))) => SourcePorts::To(ports),
                _ if is_random => SourcePorts::Random,
                _ => SourcePorts::Unchanged,
            };
            return Some(Effect::SourcePorts(ports));
        }
        _ => return None,
    }
    Some(Effect::Destination)
}

/// Parses the conditions of `-p tcp --dport`: a range of ports, used only when it is a single one.
pub(super) fn condition(name: &str, info: &[u8], found: &mut Translation) {
    found.protocol = match name {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => return,
    };
    // Source ports first, then destination ports, then, among others, the inversion flags.
    let inverted = info.get(if name == "tcp" { 11 } else { 8 }).copied().unwrap_or(1);
    if let (Some(first), Some(last), 0) = (host_port(info, 4), host_port(info, 6), inverted)
        && first == last
    {
        found.port = Some(first);
    }
}

fn range<'a>(info: &'a [u8], shape: &Shape) -> Option<(Option<&'a [u8]>, NewPorts)> {
    let flags = u32::from_ne_bytes(*info.get(shape.flags..)?.first_chunk()?);
    let address = info.get(shape.address..shape.address + shape.length)?;
    let port = |at: usize| Some(u16::from_be_bytes(*info.get(at..)?.first_chunk()?));
    let ports = if flags & NF_NAT_RANGE_PROTO_SPECIFIED != 0 {
        NewPorts::To(port(shape.first)?..=port(shape.last)?)
    } else {
        NewPorts::Unchanged
    };
    Some(((flags & NF_NAT_RANGE_MAP_IPS != 0).then_some(address), ports))
}

/// Parses an address from a union of both families: IPv4 uses only the first four bytes.
fn address_of(bytes: &[u8]) -> Option<std::net::IpAddr> {
    let (v4, rest) = bytes.split_at_checked(4)?;
    parse_ip(if rest.iter().all(|byte| *byte == 0) { v4 } else { bytes }).ok()
}

/// Reads a port of an iptables match, which is in host byte order.
fn host_port(info: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*info.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(name: &str, revision: u32, info: &[u8]) -> (Option<Effect>, Translation) {
        let mut found = Translation::default();
        (target(name, revision, info, &mut found), found)
    }

    /// `nf_nat_ipv4_multi_range_compat`.
    fn compat(flags: u32, ports: [u16; 2]) -> Vec<u8> {
        let [first, last] = ports.map(u16::to_be_bytes);
        [&1_u32.to_ne_bytes()[..], &flags.to_ne_bytes(), &[10, 0, 0, 1], &[10, 0, 0, 1], &first, &last]
            .concat()
    }

    /// `nf_nat_range`.
    fn range(flags: u32, ports: [u16; 2]) -> Vec<u8> {
        let [first, last] = ports.map(u16::to_be_bytes);
        [&flags.to_ne_bytes()[..], &[0; 32], &first, &last].concat()
    }

    #[test]
    fn source_ports_are_read() {
        for (name, revision, info, expected) in [
            ("MASQUERADE", 0, compat(0, [0, 0]), SourcePorts::Unchanged),
            ("MASQUERADE", 0, compat(16, [0, 0]), SourcePorts::Random),
            ("MASQUERADE", 0, compat(4, [0, 0]), SourcePorts::Random),
            ("MASQUERADE", 0, compat(2, [30_000, 32_767]), SourcePorts::To(30_000..=32_767)),
            ("MASQUERADE", 0, range(18, [30_000, 32_767]), SourcePorts::To(30_000..=32_767)),
            ("SNAT", 1, range(1, [0, 0]), SourcePorts::Unchanged),
            ("SNAT", 1, range(17, [0, 0]), SourcePorts::Random),
            ("MASQUERADE", 0, Vec::new(), SourcePorts::Unchanged),
        ] {
            assert_eq!(
                applied(name, revision, &info).0,
                Some(Effect::SourcePorts(expected)),
                "{name} {info:?}"
            );
        }
    }

    #[test]
    fn new_destinations_are_read() {
        let tproxy = |at: usize, port: u16| {
            let mut info = vec![0; at];
            info.extend(port.to_be_bytes());
            info
        };
        for (name, revision, info, ports) in [
            ("DNAT", 0, compat(3, [5432, 5432]), NewPorts::To(5432..=5432)),
            ("REDIRECT", 0, compat(0, [0, 0]), NewPorts::Unchanged),
            ("DNAT", 2, range(3, [5432, 5433]), NewPorts::To(5432..=5433)),
            ("TPROXY", 0, tproxy(12, 5432), NewPorts::To(5432..=5432)),
            ("TPROXY", 1, tproxy(24, 5432), NewPorts::To(5432..=5432)),
            ("TPROXY", 1, tproxy(24, 0), NewPorts::Unchanged),
            ("TPROXY", 1, tproxy(12, 5432), NewPorts::Unknown),
            ("NETMAP", 0, Vec::new(), NewPorts::Unchanged),
        ] {
            let (effect, found) = applied(name, revision, &info);
            assert_eq!((effect, &found.new_ports), (Some(Effect::Destination), &ports), "{name} {info:?}");
        }
        assert_eq!(applied("DNAT", 0, &compat(3, [1, 1])).1.new_address, Some([10, 0, 0, 1].into()));
        assert_eq!(applied("CT", 0, &[]).0, None);
    }
}
