//! Keys and values of the socket filter's maps.

use core::mem::{offset_of, size_of};

use bytemuck::{Pod, Zeroable};

use crate::{ANY_FAMILY, Denial, EndpointKey, HOST_ROW};

/// Bits of the program's constant [`crate::names::SOCKET_FILTER_BITS`].
pub mod socket_filter {
    /// Refused packets do not enter the socket. Without it they are counted and recorded, and pass.
    pub const ENFORCE: u32 = 1;
    /// Packets of the loopback interface are judged, too.
    pub const LOOPBACK: u32 = 2;
}

/// The first row of the host index: the rows of every database with an endpoint on the host. They judge a packet to
/// a guarded port whose destination no file claims.
pub const EVERY_DATABASE: EndpointKey =
    EndpointKey { address: [0; 4], port: 0, protocol: HOST_ROW, family: ANY_FAMILY };

/// [`SocketMark::role`]: unknown, the socket is older than the filter.
pub const UNMARKED: u32 = 0;
/// [`SocketMark::role`]: a listener, or a session that it accepted.
pub const ACCEPTED: u32 = 1;
/// [`SocketMark::role`]: a connection that the host itself opened.
pub const OUTGOING: u32 = 2;
/// [`SocketMark::role`]: a session that is older than the filter, at a port without a listener when its first packet came.
/// The host has probably opened it.
pub const PRESUMED_OUTGOING: u32 = 3;

/// Mark of a TCP socket at a protected port, in its storage. A session inherits the mark of its listener.
///
/// `generation` and `answer` cache the verdict of the host index about the session's source. Two CPUs may write at the
/// same time: the entry counts only if `check` belongs to both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SocketMark {
    /// As in [`crate::CachedVerdict`].
    pub generation: u64,
    /// [`SocketMark::check_of`] generation and answer.
    pub check: u64,
    /// [`crate::Reason::answer`].
    pub answer: u32,
    /// [`UNMARKED`], [`ACCEPTED`], [`OUTGOING`] or [`PRESUMED_OUTGOING`].
    pub role: u32,
    /// The generation in which a packet of the session was allowed. All its packets have the same addresses and ports, so
    /// that the verdict about one is that about each as long as this is the current generation.
    pub admitted: u64,
}

impl SocketMark {
    /// The value of `check` for this generation and answer.
    #[must_use]
    #[inline(always)]
    pub const fn check_of(generation: u64, answer: u32) -> u64 {
        (generation ^ answer as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
    }
}

/// Entries of the table of packets judged at a socket; the least recently used entry is evicted.
pub const SOCKET_TRAFFIC_SIZE: u32 = 1024;

/// Packets that the socket filter judged: their interface, and their verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct SocketTraffic {
    /// Interface index in the network namespace of the socket; 0 when unknown.
    pub interface: u32,
    /// [`crate::Reason::answer`]; without a rule counter for an allowed packet.
    pub answer: u32,
}

/// Entries of the table of sources refused at a socket; the least recently seen entry is evicted.
pub const SOCKET_DENIALS_SIZE: u32 = 4096;

/// A source refused at a socket, and the interface of its packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SocketDenial {
    pub denial: Denial,
    /// As in [`SocketTraffic`].
    pub interface: u32,
}

const _: () = {
    assert!(size_of::<SocketMark>() == 32);
    assert!(offset_of!(SocketMark, generation) == 0);
    assert!(offset_of!(SocketMark, check) == 8);
    assert!(offset_of!(SocketMark, answer) == 16);
    assert!(offset_of!(SocketMark, role) == 20);
    assert!(offset_of!(SocketMark, admitted) == 24);
    assert!(size_of::<SocketTraffic>() == 8);
    assert!(offset_of!(SocketTraffic, interface) == 0);
    assert!(offset_of!(SocketTraffic, answer) == 4);
    assert!(size_of::<SocketDenial>() == 48);
    assert!(offset_of!(SocketDenial, denial) == 0);
    assert!(offset_of!(SocketDenial, interface) == 44);
};
