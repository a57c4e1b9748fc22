//! Random frames: well-formed ones, half of them then damaged.

use std::net::IpAddr;

use fastrand::Rng;
use firewall_tests::packets::{Ethernet, Extension, Segment, Tcp, Udp, ethertype, flag, frame, protocol};

use crate::addresses::{Addresses, PacketDestination};
use crate::mutations::mutate;
use crate::policy::Policy;

const OTHER_PROTOCOLS: [u8; 6] =
    [protocol::ICMP, protocol::ESP, protocol::ICMPV6, protocol::NO_NEXT, protocol::SCTP, protocol::UDP_LITE];
const WALKED: [u8; 5] = [
    protocol::HOP_BY_HOP,
    protocol::ROUTING,
    protocol::FRAGMENT,
    protocol::AUTHENTICATION,
    protocol::DESTINATION_OPTIONS,
];

/// An endless sequence of frames of at least 14 bytes each; the same seed and policy give the same sequence.
pub struct Frames {
    rng: Rng,
    addresses: Addresses,
}

impl Frames {
    pub fn new(seed: u64, policy: &Policy) -> Self {
        Self { rng: Rng::with_seed(seed), addresses: Addresses::new(policy) }
    }

    fn well_formed(&mut self) -> Vec<u8> {
        let ethernet = self.ethernet();
        match self.rng.u8(..) {
            0..122 => self.over_ipv4(ethernet),
            122..244 => self.over_ipv6(ethernet),
            244..247 => {
                let sender = self.addresses.ipv4_source(&mut self.rng);
                ethernet.arp_request(sender, sender)
            }
            247..249 => ethernet.lldp(),
            249.. => {
                let kinds = [ethertype::IPV4, ethertype::IPV6, ethertype::VLAN, self.rng.u16(..)];
                let kind = kinds[self.rng.usize(..kinds.len())];
                ethernet.carrying(kind, &self.bytes(80))
            }
        }
    }

    fn ethernet(&mut self) -> Ethernet {
        let tags = match self.rng.u8(..) {
            0..192 => 0,
            192..248 => self.rng.u8(1..5),
            248.. => self.rng.u8(5..8),
        };
        let ethernet = (0..tags).fold(frame(), |ethernet, _| {
            let kind = if self.rng.bool() { ethertype::VLAN } else { ethertype::SERVICE_VLAN };
            ethernet.tag(kind, self.rng.u16(..) & 0xf000)
        });
        if self.one_in(8) { ethernet.trailer(self.bytes(40)) } else { ethernet }
    }

    fn over_ipv4(&mut self, ethernet: Ethernet) -> Vec<u8> {
        let (source, to) =
            (self.addresses.ipv4_source(&mut self.rng), self.addresses.ipv4_destination(&mut self.rng));
        let IpAddr::V4(destination) = to.address else { unreachable!("an IPv4 destination of IPv6") };
        let mut ip = ethernet.ipv4(source, destination);
        if self.one_in(4) {
            let words = self.rng.usize(1..11);
            ip = ip.options(vec![1; words * 4]);
        }
        for _ in 0..self.chain_length() {
            ip = ip.extension(Extension::authentication(4 * self.rng.usize(..4)));
        }
        match self.rng.u8(..) {
            0..16 => ip = ip.fragment(0, true),
            16..32 => ip = ip.fragment(8 * self.rng.usize(1..100), self.rng.bool()),
            32..48 => ip = ip.dont_fragment(),
            48.. => {}
        }
        ip.carrying(self.segment(to)).build()
    }

    fn over_ipv6(&mut self, ethernet: Ethernet) -> Vec<u8> {
        let (source, to) =
            (self.addresses.ipv6_source(&mut self.rng), self.addresses.ipv6_destination(&mut self.rng));
        let IpAddr::V6(destination) = to.address else { unreachable!("an IPv6 destination of IPv4") };
        let mut ip = ethernet.ipv6(source, destination);
        if self.one_in(64) {
            ip = ip.hop_by_hop(&[]).payload_length(0);
        }
        for _ in 0..self.chain_length() {
            ip = ip.extension(self.extension());
        }
        ip.carrying(self.segment(to)).build()
    }

    fn chain_length(&mut self) -> u8 {
        match self.rng.u8(..) {
            0..160 => 0,
            160..224 => self.rng.u8(1..4),
            224.. => self.rng.u8(4..12),
        }
    }

    fn extension(&mut self) -> Extension {
        let kind = WALKED[self.rng.usize(..WALKED.len())];
        match kind {
            // Mostly atomic, or no long chain would be walked to its end.
            protocol::FRAGMENT => {
                let offset = if self.one_in(4) { 8 * self.rng.usize(1..100) } else { 0 };
                Extension::fragment(offset, self.one_in(4), 1)
            }
            protocol::AUTHENTICATION => Extension::authentication(4 * self.rng.usize(..4)),
            protocol::ROUTING => Extension::routing(self.rng.u8(..), 0, &[0; 4]),
            _ => Extension::options(kind, &vec![0; self.rng.usize(..20)]),
        }
    }

    fn segment(&mut self, to: PacketDestination) -> Segment {
        let source = self.rng.u16(..);
        match self.rng.u8(..) {
            0..16 => Segment::raw(OTHER_PROTOCOLS[self.rng.usize(..OTHER_PROTOCOLS.len())], &self.bytes(24)),
            16..32 => Segment::raw(to.protocol, &self.bytes(24)),
            32.. if to.protocol == protocol::TCP => {
                let flags = if self.rng.bool() { flag::SYN } else { self.rng.u8(..) };
                Tcp::syn(source, to.port).flags(flags).payload(self.bytes(12)).into()
            }
            32.. => Udp::new(source, to.port).payload(self.bytes(12)).into(),
        }
    }

    /// Returns fewer than `limit` random bytes.
    fn bytes(&mut self, limit: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.usize(..limit)];
        self.rng.fill(&mut bytes);
        bytes
    }

    fn one_in(&mut self, cases: u32) -> bool {
        self.rng.u32(..cases) == 0
    }
}

impl Iterator for Frames {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut frame = self.well_formed();
        if self.rng.bool() {
            for _ in 0..self.rng.u8(1..4) {
                mutate(&mut self.rng, &mut frame);
            }
        }
        Some(frame)
    }
}
