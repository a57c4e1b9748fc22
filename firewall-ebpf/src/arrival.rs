//! A packet that enters a socket, and the socket: access to the context of the socket filter.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_CURRENT_NETNS, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock, bpf_sock_tuple,
        bpf_sock_tuple__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::generated::{
        bpf_sk_fullsock, bpf_sk_lookup_tcp, bpf_sk_lookup_udp, bpf_sk_release, bpf_sk_storage_get,
        bpf_skb_load_bytes, bpf_skc_lookup_tcp,
    },
    programs::SkBuffContext,
};
use bytemuck::AnyBitPattern;
use firewall_common::{
    Address, CLASS_SYN, CLASS_TCP, CLASS_UDP, IPV4, IPV6, SocketMark,
    packet::{Flow, PacketBytes, Shape, parse_ipv6},
    socket_filter,
};

use crate::{
    accelerations::socket_filter_is,
    aligned::Aligned,
    maps::SOCKETS,
    socket::{Socket, SocketState},
};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// `SOCK_STREAM` and `SOCK_DGRAM`.
const STREAM: u32 = 1;
const DATAGRAM: u32 = 2;
/// States of a socket, as the kernel numbers them.
const ESTABLISHED: u32 = 1;
const SYN_SENT: u32 = 2;
const LISTEN: u32 = 10;
/// Index of `lo` in every network namespace.
const LOOPBACK: u32 = 1;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
/// Offset of the flags in a TCP header.
const FLAGS: usize = 13;
const FIN_SYN_RST_ACK: u8 = 0x17;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;

/// One run of the socket filter, for a packet of TCP or UDP. The kernel has verified the packet's headers.
pub struct Arrival {
    ctx: *mut __sk_buff,
    sock: *mut bpf_sock,
    state: SocketState,
    /// In network byte order.
    port: u16,
    /// Index of the interface that received the packet; 0 when unknown.
    pub interface: u32,
    /// In bytes, from the IP header on.
    pub length: usize,
    transport: Transport,
}

/// Reads a field of a structure of the kernel, alone: the verifier knows each field by its offset and size.
macro_rules! field {
    ($pointer:expr, $($field:ident).+ $([$index:literal])?) => {
        // SAFETY: a pointer that the kernel has checked or passed; the verifier checks the access.
        unsafe { (&raw const (*$pointer).$($field).+ $([$index])?).read_volatile() }
    };
}

impl Arrival {
    /// The packet's socket; `None` when it is neither TCP nor UDP.
    #[inline(always)]
    pub fn new(ctx: &SkBuffContext) -> Option<Self> {
        let ctx = ctx.skb.skb;
        let sock = field!(ctx, __bindgen_anon_2.sk);
        if sock.is_null() {
            return None;
        }
        // SAFETY: the socket of the context, which is not null.
        let sock = unsafe { bpf_sk_fullsock(sock) };
        if sock.is_null() {
            return None;
        }
        let protocol = match (field!(sock, type_), field!(sock, protocol)) {
            (STREAM, protocol) if protocol == u32::from(TCP) => TCP,
            (DATAGRAM, protocol) if protocol == u32::from(UDP) => UDP,
            _ => return None,
        };
        let state = match (protocol, field!(sock, state)) {
            (UDP, ESTABLISHED) => SocketState::Connected,
            (UDP, _) => SocketState::Unconnected,
            (_, LISTEN) => SocketState::Listener,
            (_, SYN_SENT) => SocketState::Opening,
            _ => SocketState::Session,
        };
        let port = (field!(sock, src_port) as u16).to_be();
        let (interface, length) = (field!(ctx, ifindex), field!(ctx, len) as usize);
        Some(Self { ctx, sock, state, port, interface, length, transport: Transport::UNKNOWN })
    }

    /// Parses the packet.
    #[inline(always)]
    pub fn parse(&mut self, flow: &mut Flow) -> Shape {
        let (shape, transport) = Transport::decode(parse_packet(self.ctx, flow));
        self.transport = transport;
        // One of the two, see `new`.
        let protocol = field!(self.sock, protocol) as u8;
        if flow.protocol != protocol {
            // An unreadable chain has no protocol. A header of another one was taken off (foo-over-udp) and left its name
            // in the IP header: where its ports are is unknown, the socket has the one that matters.
            if shape == Shape::Port {
                flow.port = self.port;
                self.transport = Transport::UNKNOWN;
            }
            flow.protocol = protocol;
        }
        shape
    }

    /// Returns whether a socket with the packet's source address and port exists in this network namespace. A socket for
    /// every address does not count: its port is no secret, and the sender chooses his own.
    #[inline(always)]
    fn has_sender(&self, flow: &Flow) -> bool {
        let (mut tuple, size) =
            tuple((&flow.destination, flow.port), (&flow.source, self.transport.source_port), flow.family);
        let (tuple, netns) = ((&raw mut tuple).cast(), BPF_F_CURRENT_NETNS as i64 as u64);
        if flow.protocol == TCP {
            // SAFETY: the tuple has `size` bytes that are set.
            let found = unsafe { bpf_skc_lookup_tcp(self.ctx.cast(), tuple, size, netns, 0) };
            if found.is_null() {
                return false;
            }
            let sends = field!(found, state) != LISTEN;
            // SAFETY: the socket that was just found, and is not used afterwards.
            unsafe { bpf_sk_release(found.cast()) };
            return sends;
        }
        // SAFETY: as above.
        let found = unsafe { bpf_sk_lookup_udp(self.ctx.cast(), tuple, size, netns, 0) };
        if found.is_null() {
            return false;
        }
        let sends = if flow.family == IPV4 {
            field!(found, src_ip4) == flow.source[0]
        } else {
            [
                field!(found, src_ip6[0]),
                field!(found, src_ip6[1]),
                field!(found, src_ip6[2]),
                field!(found, src_ip6[3]),
            ] == flow.source
        };
        // SAFETY: as above.
        unsafe { bpf_sk_release(found.cast()) };
        sends
    }

    /// The packet's class, as in the table of refused sources.
    #[inline(always)]
    pub fn class(&self, flow: &Flow) -> u8 {
        if flow.protocol == UDP {
            return CLASS_UDP;
        }
        if self.tcp_flags() & FIN_SYN_RST_ACK == SYN { CLASS_SYN } else { CLASS_TCP }
    }

    #[inline(always)]
    fn is_reset(&self, flow: &Flow) -> bool {
        flow.protocol == TCP && self.tcp_flags() & RST != 0
    }

    /// The flags of a TCP packet; 0 when unknown.
    #[inline(always)]
    fn tcp_flags(&self) -> u8 {
        let at = self.transport.at;
        if at < IPV4_HEADER { 0 } else { Packet(self.ctx).load(at + FLAGS).unwrap_or_default() }
    }

    /// The storage of the socket.
    #[inline(always)]
    fn storage(&self, flags: u32) -> *mut SocketMark {
        // SAFETY: a socket that the kernel has checked; it creates the mark with zeros.
        let mark = unsafe {
            bpf_sk_storage_get(SOCKETS.as_ptr(), self.sock.cast(), core::ptr::null_mut(), u64::from(flags))
        };
        mark.cast()
    }
}

/// A packet at a socket, from the IP header on.
struct Packet(*mut __sk_buff);

impl Packet {
    #[inline(always)]
    fn parse(&self, flow: &mut Flow) -> (Shape, Transport) {
        let unknown = Transport::UNKNOWN;
        let Some(start) = self.load::<[u32; 5]>(0) else { return (Shape::Malformed, unknown) };
        let [first, _, third, source, destination] = start.map(u32::to_ne_bytes);
        if first[0] >> 4 == 4 {
            flow.family = IPV4;
            flow.source[0] = u32::from_ne_bytes(source);
            flow.destination[0] = u32::from_ne_bytes(destination);
            flow.protocol = third[1];
            return self.read_ports(usize::from(first[0] & 0x0f) * 4, flow);
        }
        let next = self.load::<u8>(6).unwrap_or_default();
        if next != TCP && next != UDP {
            let shape = parse_ipv6(self, flow);
            return (if shape == Shape::Port { Shape::Port } else { Shape::Unreadable }, unknown);
        }
        let Some(addresses) = self.load::<[[u32; 4]; 2]>(8) else { return (Shape::Malformed, unknown) };
        flow.family = IPV6;
        [flow.source, flow.destination] = addresses;
        flow.protocol = next;
        self.read_ports(IPV6_HEADER, flow)
    }

    #[inline(always)]
    fn read_ports(&self, at: usize, flow: &mut Flow) -> (Shape, Transport) {
        let Some([source_port, port]) = self.load::<[u16; 2]>(at) else {
            return (Shape::Malformed, Transport { at, source_port: 0 });
        };
        flow.port = port;
        (Shape::Port, Transport { at, source_port })
    }

    /// Reads a value at any offset, through the kernel's copy.
    #[inline(always)]
    fn load<T: AnyBitPattern>(&self, offset: usize) -> Option<T> {
        let mut bytes = Aligned(MaybeUninit::<T>::uninit());
        // SAFETY: the kernel writes exactly `size_of::<T>()` bytes, or returns an error; it checks the offset itself.
        let done = unsafe {
            bpf_skb_load_bytes(
                self.0.cast(),
                offset as u32,
                bytes.0.as_mut_ptr().cast(),
                size_of::<T>() as u32,
            )
        };
        // SAFETY: on 0 all bytes were written, and every bit pattern is a T.
        if done == 0 { Some(unsafe { bytes.0.assume_init() }) } else { None }
    }
}

impl PacketBytes for Packet {
    #[inline(always)]
    fn frame_len(&self) -> usize {
        field!(self.0, len) as usize
    }

    #[inline(always)]
    fn read_fixed<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.load(offset)
    }

    #[inline(always)]
    fn read_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.load(offset)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        self.load(offset)
    }
}

/// The header of TCP or UDP.
#[derive(Clone, Copy)]
struct Transport {
    /// Offset from the IP header on, below 256; 0 when unknown.
    at: usize,
    /// In network byte order; 0 when unknown.
    source_port: u16,
}

impl Transport {
    const UNKNOWN: Self = Self { at: 0, source_port: 0 };

    /// With a shape, as one number: a function of the program returns no more.
    #[inline(always)]
    fn encode(self, shape: Shape) -> u64 {
        u64::from(shape as u32) | (self.at as u64) << 8 | u64::from(self.source_port) << 16
    }

    #[inline(always)]
    fn decode(number: u64) -> (Shape, Self) {
        let shape = Shape::from_number(number as u32 & 0xff).unwrap_or(Shape::Malformed);
        (shape, Self { at: (number >> 8) as usize & 0xff, source_port: (number >> 16) as u16 })
    }
}

/// Parses a packet, and answers with [`Transport::encode`]. A global function, which the verifier checks once, on its own:
/// inlined, it would follow each state of a socket after each way of parsing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn parse_packet(ctx: *mut __sk_buff, flow: *mut Flow) -> u64 {
    // SAFETY: null, or the flow of this program run.
    let Some(flow) = (unsafe { flow.as_mut() }) else { return Shape::Malformed as u64 };
    let (shape, transport) = Packet(ctx).parse(flow);
    transport.encode(shape)
}

/// The remote and the local end of a connection, addresses and ports in network byte order, and the size of the tuple.
#[inline(always)]
fn tuple(
    remote: (&Address, u16),
    local: (&Address, u16),
    family: u8,
) -> (Aligned<bpf_sock_tuple__bindgen_ty_1>, u32) {
    let ((saddr, sport), (daddr, dport)) = (remote, local);
    if family == IPV4 {
        let (saddr, daddr) = (saddr[0], daddr[0]);
        let ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 { saddr, daddr, sport, dport };
        (Aligned(bpf_sock_tuple__bindgen_ty_1 { ipv4 }), 12)
    } else {
        let ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 { saddr: *saddr, daddr: *daddr, sport, dport };
        (Aligned(bpf_sock_tuple__bindgen_ty_1 { ipv6 }), 36)
    }
}

/// Returns whether the address is of the host that sent the packet, in any network: 127.0.0.0/8 or ::1.
#[inline(always)]
fn is_loopback(address: Address, family: u8) -> bool {
    if family == IPV4 { address[0].to_ne_bytes()[0] == 127 } else { address == [0, 0, 0, 1u32.to_be()] }
}

impl Socket<'static> for Arrival {
    #[inline(always)]
    fn state(&self) -> SocketState {
        self.state
    }

    #[inline(always)]
    fn port(&self) -> u16 {
        self.port
    }

    #[inline(always)]
    fn mark(&self) -> Option<&'static mut SocketMark> {
        // SAFETY: null, or a mark that lives as long as this program run. Other CPUs may read and write it: each field is
        // a plain integer, and a cached answer has a check.
        unsafe { self.storage(BPF_SK_STORAGE_GET_F_CREATE).as_mut() }
    }

    #[inline(always)]
    fn stored_mark(&self) -> Option<&'static SocketMark> {
        // SAFETY: as above.
        unsafe { self.storage(0).as_ref() }
    }

    #[inline(always)]
    fn may_be_local(&self) -> bool {
        self.interface == LOOPBACK && !socket_filter_is(socket_filter::LOOPBACK)
    }

    /// MPLS and other routes to `lo` make the packets of strangers arrive there. Without an address of its own a socket of
    /// the host sends to the host from the destination address, or from the primary one of its subnet. A reset gives no
    /// access, and the socket that it comes from may be gone.
    #[inline(always)]
    fn is_local(&self, flow: &Flow) -> bool {
        self.may_be_local()
            && (flow.source == flow.destination
                || is_loopback(flow.source, flow.family)
                || self.is_reset(flow)
                || self.has_sender(flow))
    }

    #[inline(always)]
    fn has_listener(&self, flow: &Flow) -> bool {
        let (mut tuple, size) = tuple((&Aligned([0; 4]), 0), (&flow.destination, flow.port), flow.family);
        let tuple: *mut bpf_sock_tuple = (&raw mut tuple).cast();
        // SAFETY: the tuple has `size` bytes that are set.
        let found =
            unsafe { bpf_sk_lookup_tcp(self.ctx.cast(), tuple, size, BPF_F_CURRENT_NETNS as i64 as u64, 0) };
        if found.is_null() {
            return false;
        }
        let listens = field!(found, state) == LISTEN;
        // SAFETY: the socket that was just found, and is not used afterwards.
        unsafe { bpf_sk_release(found.cast()) };
        listens
    }
}
