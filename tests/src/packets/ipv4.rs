//! The IPv4 header with every field settable.

use std::net::Ipv4Addr;

use derive_setters::Setters;

use super::checksum::internet_checksum;
use super::datagram::Network;
use super::{Datagram, Ethernet, Extension, Segment, Tcp, Udp, ethertype};

const RESERVED: u16 = 0x8000;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

/// An IPv4 header, before its payload is added.
#[derive(Clone, Debug, Default, Setters)]
#[setters(strip_option)]
pub struct Ipv4 {
    #[setters(skip)]
    ethernet: Ethernet,
    pub(super) source: [u8; 4],
    pub(super) destination: [u8; 4],
    version: u8,
    /// The header length, in words of 4 bytes, 0 to 15; the right one unless set.
    header_words: Option<u8>,
    tos: u8,
    /// The total length, in bytes; the right one unless set.
    total_length: Option<u16>,
    id: u16,
    #[setters(skip)]
    fragment: u16,
    ttl: u8,
    /// The protocol field; that of the payload unless set.
    protocol: Option<u8>,
    /// The header checksum; the right one unless set.
    checksum: Option<u16>,
    /// The IPv4 options, padded with end-of-list bytes to a multiple of 4.
    #[setters(into)]
    options: Vec<u8>,
    #[setters(skip)]
    pub(super) extensions: Vec<Extension>,
}

impl Ipv4 {
    pub(super) fn new(ethernet: Ethernet, source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        let (source, destination) = (source.octets(), destination.octets());
        Self { ethernet, source, destination, version: 4, id: 1, ttl: 64, ..Self::default() }
    }

    /// Rebuilds the enclosing frame; the packet stays the same.
    pub fn reframed(mut self, reframe: impl FnOnce(Ethernet) -> Ethernet) -> Self {
        self.ethernet = reframe(self.ethernet);
        self
    }

    pub fn reserved_flag(mut self) -> Self {
        self.fragment |= RESERVED;
        self
    }

    pub fn dont_fragment(mut self) -> Self {
        self.fragment |= DONT_FRAGMENT;
        self
    }

    /// Sets the fragment fields; `offset` is in bytes and a multiple of 8.
    pub fn fragment(mut self, offset: usize, more: bool) -> Self {
        let flags = self.fragment & (RESERVED | DONT_FRAGMENT);
        self.fragment = flags | (offset / 8) as u16 | if more { MORE_FRAGMENTS } else { 0 };
        self
    }

    /// Adds a header between this one and the transport.
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    pub fn tcp(self, source: u16, destination: u16) -> Datagram {
        self.carrying(Tcp::syn(source, destination))
    }

    pub fn udp(self, source: u16, destination: u16, payload: &[u8]) -> Datagram {
        self.carrying(Udp::new(source, destination).payload(payload))
    }

    pub fn carrying(self, segment: impl Into<Segment>) -> Datagram {
        Datagram::new(Network::V4(self), segment.into())
    }

    /// Builds the frame with this header before `content` of type `content_type`.
    pub(super) fn frame(&self, content_type: u8, content: &[u8]) -> Vec<u8> {
        let length = 20 + self.options.len().next_multiple_of(4);
        let words = self.header_words.unwrap_or((length / 4) as u8);
        let total_length = self.total_length.unwrap_or((length + content.len()) as u16);
        let mut header = vec![self.version << 4 | words & 0x0f, self.tos];
        header.extend(total_length.to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol.unwrap_or(content_type), 0, 0]);
        header.extend([self.source, self.destination].concat());
        header.extend(&self.options);
        header.resize(length, 0);
        let checksum = self.checksum.unwrap_or_else(|| internet_checksum(&[&header]));
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header.extend(content);
        self.ethernet.carrying(ethertype::IPV4, &header)
    }
}
