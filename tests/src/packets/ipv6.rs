//! The IPv6 header and its chain of extension headers.

use std::net::Ipv6Addr;

use derive_setters::Setters;

use super::datagram::Network;
use super::{Datagram, Ethernet, Extension, Segment, Tcp, Udp, ethertype, protocol};

/// An IPv6 header with its extension headers, before their payload is added.
#[derive(Clone, Debug, Default, Setters)]
#[setters(strip_option)]
pub struct Ipv6 {
    #[setters(skip)]
    ethernet: Ethernet,
    pub(super) source: [u8; 16],
    pub(super) destination: [u8; 16],
    version: u8,
    traffic_class: u8,
    /// The flow label, 20 bits.
    flow_label: u32,
    /// The payload length, in bytes; the right one unless set.
    payload_length: Option<u16>,
    hop_limit: u8,
    /// The identification that fragments of this packet carry.
    pub(super) id: u32,
    #[setters(skip)]
    pub(super) extensions: Vec<Extension>,
    #[setters(skip)]
    pub(super) unfragmentable: usize,
}

impl Ipv6 {
    pub(super) fn new(ethernet: Ethernet, source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        let (source, destination) = (source.octets(), destination.octets());
        Self { ethernet, source, destination, version: 6, hop_limit: 64, id: 1, ..Self::default() }
    }

    /// Rebuilds the enclosing frame; the packet stays the same.
    pub fn reframed(mut self, reframe: impl FnOnce(Ethernet) -> Ethernet) -> Self {
        self.ethernet = reframe(self.ethernet);
        self
    }

    /// Adds hop-by-hop options, padded to a multiple of 8 bytes.
    pub fn hop_by_hop(self, options: &[u8]) -> Self {
        self.extension(Extension::options(protocol::HOP_BY_HOP, options))
    }

    /// Adds destination options, padded to a multiple of 8 bytes.
    pub fn destination_options(self, options: &[u8]) -> Self {
        self.extension(Extension::options(protocol::DESTINATION_OPTIONS, options))
    }

    /// Adds a routing header with a body of 20 zero bytes.
    pub fn routing(self, routing_type: u8, segments_left: u8) -> Self {
        self.extension(Extension::routing(routing_type, segments_left, &[0; 20]))
    }

    /// Adds a fragment header; `offset` is in bytes and a multiple of 8.
    pub fn fragment(self, offset: usize, more: bool) -> Self {
        let id = self.id;
        self.extension(Extension::fragment(offset, more, id))
    }

    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// Makes headers added from now on fragmentable by [`Datagram::fragments`]; those before are in every fragment.
    pub fn fragmentable(mut self) -> Self {
        self.unfragmentable = self.extensions.len();
        self
    }

    pub fn tcp(self, source: u16, destination: u16) -> Datagram {
        self.carrying(Tcp::syn(source, destination))
    }

    pub fn udp(self, source: u16, destination: u16, payload: &[u8]) -> Datagram {
        self.carrying(Udp::new(source, destination).payload(payload))
    }

    pub fn carrying(self, segment: impl Into<Segment>) -> Datagram {
        Datagram::new(Network::V6(self), segment.into())
    }

    /// Builds the frame with the fixed header before `content` of type `content_type`.
    pub(super) fn frame(&self, content_type: u8, content: &[u8]) -> Vec<u8> {
        let first =
            u32::from(self.version) << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        let mut packet = first.to_be_bytes().to_vec();
        packet.extend(self.payload_length.unwrap_or(content.len() as u16).to_be_bytes());
        packet.extend([content_type, self.hop_limit]);
        packet.extend([self.source, self.destination].concat());
        packet.extend(content);
        self.ethernet.carrying(ethertype::IPV6, &packet)
    }
}
