//! Policy-independent facts about a frame. etherparse slices the fixed headers.

use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, SingleVlanHeaderSlice, UdpHeaderSlice,
};

/// Bounds of the filter.
const MAX_TAGS: usize = 4;
const MAX_WALKED: usize = 8;

/// Offset of the flags in a TCP header.
const FLAGS: usize = 13;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

const TAGS: [EtherType; 2] = [EtherType::VLAN_TAGGED_FRAME, EtherType::PROVIDER_BRIDGING];
const WALKED_V4: [IpNumber; 1] = [IpNumber::AUTHENTICATION_HEADER];
const WALKED_V6: [IpNumber; 5] = [
    IpNumber::IPV6_HEADER_HOP_BY_HOP,
    IpNumber::IPV6_ROUTE_HEADER,
    IpNumber::IPV6_FRAGMENTATION_HEADER,
    IpNumber::AUTHENTICATION_HEADER,
    IpNumber::IPV6_DESTINATION_OPTIONS,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParsedFlow {
    NotIp,
    VlanDepth,
    Malformed,
    /// Neither TCP nor UDP.
    OtherProtocol,
    Aimed {
        source: IpAddr,
        destination: IpAddr,
        at: Aim,
    },
}

/// The known facts about the port of a packet that is TCP or UDP, or may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    Port {
        protocol: u8,
        port: u16,
        /// The packet may open a connection: no TCP packet, one with SYN and without ACK, or one without its flags.
        opens: bool,
    },
    /// A whole packet that ends within its transport header.
    Truncated,
    /// A first fragment that ends before its ports.
    NoPort,
    LaterFragment,
    /// A chain of headers that is too long, ends early, or is fragmented twice.
    Unreadable,
}

/// Parses a whole frame, Ethernet header first.
pub fn parse_flow(frame: &[u8]) -> ParsedFlow {
    let Ok(ethernet) = Ethernet2HeaderSlice::from_slice(frame) else { return ParsedFlow::Malformed };
    let mut kind = ethernet.ether_type();
    let mut rest = &frame[ethernet.slice().len()..];
    for _ in 0..MAX_TAGS {
        if !TAGS.contains(&kind) {
            break;
        }
        let Ok(tag) = SingleVlanHeaderSlice::from_slice(rest) else { return ParsedFlow::Malformed };
        (kind, rest) = (tag.ether_type(), &rest[tag.slice().len()..]);
    }
    match kind {
        EtherType::IPV4 => parse_v4(rest),
        EtherType::IPV6 => parse_v6(rest),
        other if TAGS.contains(&other) => ParsedFlow::VlanDepth,
        _ => ParsedFlow::NotIp,
    }
}

fn parse_v4(packet: &[u8]) -> ParsedFlow {
    let Ok(header) = Ipv4HeaderSlice::from_slice(packet) else { return ParsedFlow::Malformed };
    let (length, total) = (header.slice().len(), usize::from(header.total_len()));
    if total < length {
        return ParsedFlow::Malformed;
    }
    let content = &packet[length..total.min(packet.len())];
    let offset = header.fragments_offset().value();
    let may_be_aimed = [IpNumber::TCP, IpNumber::UDP, IpNumber::AUTHENTICATION_HEADER];
    let at = if offset > 0 {
        may_be_aimed.contains(&header.protocol()).then_some(Aim::LaterFragment)
    } else {
        let walk = Walk { walked: &WALKED_V4, first_fragment: header.more_fragments(), fragment_seen: false };
        walk.follow(header.protocol(), content)
    };
    aimed(header.source_addr().into(), header.destination_addr().into(), at)
}

fn parse_v6(packet: &[u8]) -> ParsedFlow {
    let Ok(header) = Ipv6HeaderSlice::from_slice(packet) else { return ParsedFlow::Malformed };
    let behind = &packet[header.slice().len()..];
    let stated = usize::from(header.payload_length());
    let unstated = stated == 0 && header.next_header() == IpNumber::IPV6_HEADER_HOP_BY_HOP;
    let content = if unstated { behind } else { &behind[..stated.min(behind.len())] };
    let walk = Walk { walked: &WALKED_V6, first_fragment: false, fragment_seen: false };
    aimed(
        header.source_addr().into(),
        header.destination_addr().into(),
        walk.follow(header.next_header(), content),
    )
}

fn aimed(source: IpAddr, destination: IpAddr, at: Option<Aim>) -> ParsedFlow {
    at.map_or(ParsedFlow::OtherProtocol, |at| ParsedFlow::Aimed { source, destination, at })
}

/// The walk from the IP header to the transport header.
struct Walk {
    /// The kinds of header that are skipped.
    walked: &'static [IpNumber],
    first_fragment: bool,
    fragment_seen: bool,
}

impl Walk {
    /// Follows the chain through `rest`, which starts with a header of kind `next`; `None` is another protocol.
    fn follow(mut self, mut next: IpNumber, mut rest: &[u8]) -> Option<Aim> {
        let mut count = 0;
        while self.walked.contains(&next) {
            count += 1;
            if count > MAX_WALKED {
                return Some(Aim::Unreadable);
            }
            if next == IpNumber::IPV6_FRAGMENTATION_HEADER {
                let Ok(fragment) = Ipv6FragmentHeaderSlice::from_slice(rest) else {
                    return Some(self.cut_short());
                };
                if self.fragment_seen {
                    return Some(Aim::Unreadable);
                }
                if fragment.fragment_offset().value() > 0 {
                    let kind = fragment.next_header();
                    let aimed = self.walked.contains(&kind) || kind == IpNumber::TCP || kind == IpNumber::UDP;
                    return aimed.then_some(Aim::LaterFragment);
                }
                self.fragment_seen = true;
                self.first_fragment = fragment.more_fragments();
            }
            let Some(length) = header_length(next, rest) else { return Some(self.cut_short()) };
            (next, rest) = (IpNumber(rest[0]), &rest[length..]);
        }
        self.transport(next, rest)
    }

    fn transport(&self, kind: IpNumber, bytes: &[u8]) -> Option<Aim> {
        let whole = match kind {
            IpNumber::TCP => bytes.len() >= 20,
            IpNumber::UDP => UdpHeaderSlice::from_slice(bytes).is_ok(),
            _ => return None,
        };
        Some(match bytes {
            [_, _, high, low, ..] if whole || self.first_fragment => {
                let flags = bytes.get(FLAGS).filter(|_| kind == IpNumber::TCP);
                let opens = flags.is_none_or(|flags| flags & (SYN | ACK) == SYN);
                Aim::Port { protocol: kind.0, port: u16::from_be_bytes([*high, *low]), opens }
            }
            _ if self.first_fragment => Aim::NoPort,
            _ => Aim::Truncated,
        })
    }

    /// Classifies a header that exceeds the packet: the rest of a first fragment is in a later one, that of a whole
    /// packet is missing.
    fn cut_short(&self) -> Aim {
        if self.first_fragment { Aim::NoPort } else { Aim::Unreadable }
    }
}

/// Returns the length in bytes of the extension header at the start of `bytes`, if all of it is present.
fn header_length(kind: IpNumber, bytes: &[u8]) -> Option<usize> {
    let length = match kind {
        // The library requires 12 bytes and rejects a stated length of 0, which means 8.
        IpNumber::AUTHENTICATION_HEADER => (usize::from(*bytes.get(1)?) + 2) * 4,
        IpNumber::IPV6_FRAGMENTATION_HEADER => Ipv6FragmentHeaderSlice::from_slice(bytes).ok()?.slice().len(),
        _ => Ipv6RawExtHeaderSlice::from_slice(bytes).ok()?.slice().len(),
    };
    (length <= bytes.len()).then_some(length)
}
