//! The IPv4 header with every field settable.

use std::net::Ipv4Addr;

use super::checksum::internet_checksum;
use super::datagram::Network;
use super::{Datagram, Ethernet, Extension, Segment, Tcp, Udp, ethertype};

const RESERVED: u16 = 0x8000;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

/// An IPv4 header, before its payload is added.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    ethernet: Ethernet,
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    version: u8,
    header_words: Option<u8>,
    tos: u8,
    total_length: Option<u16>,
    id: u16,
    fragment: u16,
    ttl: u8,
    protocol: Option<u8>,
    checksum: Option<u16>,
    options: Vec<u8>,
    pub(super) extensions: Vec<Extension>,
}

impl Ipv4 {
    pub(super) fn new(ethernet: Ethernet, source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self {
            ethernet,
            source,
            destination,
            version: 4,
            header_words: None,
            tos: 0,
            total_length: None,
            id: 1,
            fragment: 0,
            ttl: 64,
            protocol: None,
            checksum: None,
            options: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// Rebuilds the enclosing frame; the packet stays the same.
    pub fn reframed(mut self, reframe: impl FnOnce(Ethernet) -> Ethernet) -> Self {
        self.ethernet = reframe(self.ethernet);
        self
    }

    pub fn version(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// Overrides the header length, in words of 4 bytes, 0 to 15.
    pub fn header_words(mut self, words: u8) -> Self {
        self.header_words = Some(words);
        self
    }

    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// Overrides the total length, in bytes.
    pub fn total_length(mut self, length: u16) -> Self {
        self.total_length = Some(length);
        self
    }

    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
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

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Overrides the protocol field.
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Overrides the header checksum.
    pub fn checksum(mut self, checksum: u16) -> Self {
        self.checksum = Some(checksum);
        self
    }

    /// Sets the IPv4 options, padded with end-of-list bytes to a multiple of 4.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
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
        let length = 20 + self.options.len();
        let words = self.header_words.unwrap_or((length / 4) as u8);
        let mut header = Vec::with_capacity(length + content.len());
        header.extend([self.version << 4 | words & 0x0f, self.tos]);
        header.extend(self.total_length.unwrap_or((length + content.len()) as u16).to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol.unwrap_or(content_type), 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(&self.options);
        let checksum = self.checksum.unwrap_or_else(|| internet_checksum(&[&header]));
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header.extend(content);
        self.ethernet.carrying(ethertype::IPV4, &header)
    }
}
