//! The packet parser: bytes of a frame → [`Shape`] and [`Flow`]. The frame is its only input.
//!
//! It is written for the verifier of Linux 5.18 and later: one read per statement with an early return, results written
//! into an initialised [`Flow`], a field-less enum returned, fixed headers and computed offsets read by different
//! methods.

mod ethernet;
mod ipv4;
mod ipv6;
mod walk;

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

pub use ethernet::MAX_VLAN_TAGS;
pub use walk::MAX_HEADERS;

/// The highest end of fixed-length headers in a frame, in bytes: Ethernet, VLAN tags, IPv6, ports.
pub const MAX_FIXED: usize = ethernet::HEADER + MAX_VLAN_TAGS * ethernet::TAG + ipv6::HEADER + walk::PORTS;

/// Bytes of one frame, from the Ethernet header on.
pub trait PacketBytes {
    /// Length of the frame in bytes, fragments of the buffer included.
    fn frame_len(&self) -> usize;

    /// `N` bytes at one of few, small offsets: the fixed headers. `None` when the frame is shorter.
    fn read_fixed<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// `N` bytes at a computed offset: after options and extension headers. `None` when the frame is shorter.
    fn read_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// `N` words at a fixed header's offset, in network byte order. `None` when the frame is shorter.
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]>;

    /// Receives the offset of the flags of a TCP header, once they are known to lie within the packet. Ignores it by
    /// default: few verdicts depend on the flags.
    #[inline(always)]
    fn found_flags(&self, _offset: usize) {}
}

/// Parse result of a frame. [`Shape::Port`] fills in all of [`Flow`]; the variants from [`Shape::Truncated`] on fill in
/// its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Shape {
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// More than [`MAX_VLAN_TAGS`] VLAN tags.
    VlanDepth,
    /// The Ethernet or IP header is broken or cut short.
    Malformed,
    /// IP, but neither TCP nor UDP nor a fragment of them.
    OtherProtocol,
    /// Addresses, protocol and ports are known.
    Port,
    /// TCP or UDP, not a fragment, with a header cut short.
    Truncated,
    /// A first fragment that ends before the ports.
    NoPort,
    /// A fragment that is not the first.
    LaterFragment,
    /// A chain of extension headers that is too long, runs past the packet's end, or has two fragment headers.
    Unreadable,
}

impl Shape {
    /// The shape with this number; `None` when there is none.
    #[must_use]
    #[inline(always)]
    pub const fn from_number(number: u32) -> Option<Self> {
        const NOT_IP: u32 = Shape::NotIp as u32;
        const VLAN_DEPTH: u32 = Shape::VlanDepth as u32;
        const MALFORMED: u32 = Shape::Malformed as u32;
        const OTHER_PROTOCOL: u32 = Shape::OtherProtocol as u32;
        const PORT: u32 = Shape::Port as u32;
        const TRUNCATED: u32 = Shape::Truncated as u32;
        const NO_PORT: u32 = Shape::NoPort as u32;
        const LATER_FRAGMENT: u32 = Shape::LaterFragment as u32;
        const UNREADABLE: u32 = Shape::Unreadable as u32;
        match number {
            NOT_IP => Some(Self::NotIp),
            VLAN_DEPTH => Some(Self::VlanDepth),
            MALFORMED => Some(Self::Malformed),
            OTHER_PROTOCOL => Some(Self::OtherProtocol),
            PORT => Some(Self::Port),
            TRUNCATED => Some(Self::Truncated),
            NO_PORT => Some(Self::NoPort),
            LATER_FRAGMENT => Some(Self::LaterFragment),
            UNREADABLE => Some(Self::Unreadable),
            _ => None,
        }
    }
}

const _: () = {
    let mut number = 0;
    while let Some(shape) = Shape::from_number(number) {
        assert!(shape as u32 == number);
        number += 1;
    }
    assert!(number == Shape::Unreadable as u32 + 1);
};

/// The addresses and ports of a packet, in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Flow {
    /// Source address; IPv4 in word 0.
    pub source: crate::Address,
    /// Destination address; IPv4 in word 0.
    pub destination: crate::Address,
    /// Destination port in network byte order.
    pub port: u16,
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    /// [`crate::IPV4`] or [`crate::IPV6`].
    pub family: u8,
}

impl Flow {
    /// Port, protocol and family as one number: processors are slow to read as one what was just written in parts, and the
    /// reverse costs nothing.
    #[must_use]
    #[inline(always)]
    pub fn transport(&self) -> u32 {
        let Self { port, protocol, family, .. } = *self;
        transport(port, protocol, family)
    }

    /// Sets port (in network byte order), protocol and family at once, see [`Self::transport`].
    #[inline(always)]
    pub fn set_transport(&mut self, port: u16, protocol: u8, family: u8) {
        let word = transport(port, protocol, family).to_ne_bytes();
        let (_, fields) = bytemuck::bytes_of_mut(self).split_at_mut(offset_of!(Self, port));
        fields.copy_from_slice(&word);
    }
}

#[inline(always)]
const fn transport(port: u16, protocol: u8, family: u8) -> u32 {
    let [first, second] = port.to_ne_bytes();
    u32::from_ne_bytes([first, second, protocol, family])
}

const _: () = {
    assert!(offset_of!(Flow, port) == 32);
    assert!(offset_of!(Flow, protocol) == 34);
    assert!(offset_of!(Flow, family) == 35);
};

/// Parses one frame into `flow` and returns its shape.
#[inline(always)]
pub fn parse<P: PacketBytes + ?Sized>(packet: &P, flow: &mut Flow) -> Shape {
    ethernet::parse(packet, flow)
}

/// Parses one IPv6 packet, from its IP header on, into `flow` and returns its shape.
#[inline(always)]
pub fn parse_ipv6<P: PacketBytes + ?Sized>(packet: &P, flow: &mut Flow) -> Shape {
    ipv6::parse(packet, 0, flow)
}
