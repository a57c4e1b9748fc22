//! Access to the frame: the only module with packet pointers.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_md,
    helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::XdpContext,
};
use bytemuck::AnyBitPattern;
use firewall_common::{
    Address, IPV4, IPV6, fast_path,
    packet::{Flow, MAX_FIXED, MAX_HEADERS, PacketBytes, Shape, parse},
};

use crate::{accelerations::is_on, aligned::Aligned};

/// The frame of one run of the program.
pub struct Frame {
    ctx: *mut xdp_md,
    start: usize,
    end: usize,
    /// In bytes; known once the frame was parsed.
    length: usize,
}

/// Length of the Ethernet header, without a VLAN tag and with one, and of the longest frame of an ordinary network, in
/// bytes.
const ETHERNET: usize = 14;
const TAGGED: usize = 18;
const ORDINARY: usize = 1_518;
/// In network byte order.
const TYPE_IPV4: u16 = 0x0800_u16.to_be();
const TYPE_IPV6: u16 = 0x86dd_u16.to_be();
const TYPE_8021Q: u16 = 0x8100_u16.to_be();
/// Version 4 and a header of five words.
const VERSION_4: u8 = 0x45;
/// Mask of the fragment offset and "more fragments", in network byte order.
const FRAGMENT: u16 = 0x3fff_u16.to_be();
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP: u8 = 6;
const TCP_HEADER: usize = 20;
const TCP_FLAGS: usize = 13;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
/// No header starts behind this offset: the fixed headers and [`MAX_HEADERS`] of the longest extension headers are shorter.
const FARTHEST: usize = MAX_FIXED + MAX_HEADERS * 256 * 8;

/// Length in bytes of the shortest header of TCP or UDP.
#[inline(always)]
fn transport_header(protocol: u8) -> usize {
    if protocol == TCP { TCP_HEADER } else { UDP_HEADER }
}

impl Frame {
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self { ctx: ctx.as_ptr().cast(), start: ctx.data(), end: ctx.data_end(), length: 0 }
    }

    /// A frame with its length measured without [`Self::parse`].
    #[inline(always)]
    pub fn measured(ctx: &XdpContext) -> Self {
        let mut frame = Self::new(ctx);
        frame.measure();
        frame
    }

    #[inline(always)]
    fn measure(&mut self) {
        // SAFETY: the context pointer is the one that the kernel passed to the program.
        self.length = unsafe { bpf_xdp_get_buff_len(self.ctx) } as usize;
    }

    /// Length in bytes of the parsed frame, fragments of the buffer included.
    #[inline(always)]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Parses the frame.
    #[inline(always)]
    pub fn parse(&mut self, flow: &mut Flow) -> Shape {
        if is_on(fast_path::HEADERS) && self.is_plain(flow) {
            self.length = self.end - self.start;
            return Shape::Port;
        }
        self.measure();
        Shape::from_number(parse_frame(self.ctx, flow)).unwrap_or(Shape::Malformed)
    }

    /// Plain-header parse of most packets: TCP or UDP over IPv4 or IPv6, at most one VLAN tag, no option, extension
    /// header or fragment, whole in an ordinary frame. The parser handles all others, and would give the same result here,
    /// later. The length of the frame takes no call to the kernel either: no driver starts a second buffer before the first
    /// contains this much, except for padding.
    #[inline(always)]
    fn is_plain(&self, flow: &mut Flow) -> bool {
        if self.end - self.start > ORDINARY {
            return false;
        }
        let Some(ethertype) = self.direct::<u16>(ETHERNET - 2) else { return false };
        if ethertype == TYPE_IPV4 {
            return self.is_plain_ipv4::<ETHERNET>(flow);
        }
        if ethertype == TYPE_IPV6 {
            return self.is_plain_ipv6::<ETHERNET>(flow);
        }
        if ethertype != TYPE_8021Q {
            return false;
        }
        let Some(ethertype) = self.direct::<u16>(TAGGED - 2) else { return false };
        if ethertype == TYPE_IPV4 {
            return self.is_plain_ipv4::<TAGGED>(flow);
        }
        ethertype == TYPE_IPV6 && self.is_plain_ipv6::<TAGGED>(flow)
    }

    /// The same, of an IPv4 header at this offset.
    #[inline(always)]
    fn is_plain_ipv4<const AT: usize>(&self, flow: &mut Flow) -> bool {
        if self.start + AT + IPV4_HEADER + UDP_HEADER > self.end {
            return false;
        }
        // SAFETY: everything up to the ports lies before `data_end`; plain integers, read unaligned.
        let (version, total, fragment, protocol, source, destination, port) = unsafe {
            (
                (self.at(AT) as *const u8).read_unaligned(),
                (self.at(AT + 2) as *const u16).read_unaligned(),
                (self.at(AT + 6) as *const u16).read_unaligned(),
                (self.at(AT + 9) as *const u8).read_unaligned(),
                (self.at(AT + 12) as *const u32).read_unaligned(),
                (self.at(AT + 16) as *const u32).read_unaligned(),
                (self.at(AT + IPV4_HEADER + 2) as *const u16).read_unaligned(),
            )
        };
        let total = usize::from(u16::from_be(total));
        if version != VERSION_4
            || fragment & FRAGMENT != 0
            || protocol != TCP && protocol != UDP
            || total < IPV4_HEADER + transport_header(protocol)
            || AT + total > self.end - self.start
        {
            return false;
        }
        flow.source[0] = source;
        flow.destination[0] = destination;
        flow.set_transport(port, protocol, IPV4);
        true
    }

    /// The same, of an IPv6 header at this offset.
    #[inline(always)]
    fn is_plain_ipv6<const AT: usize>(&self, flow: &mut Flow) -> bool {
        if self.start + AT + IPV6_HEADER + UDP_HEADER > self.end {
            return false;
        }
        // SAFETY: as above.
        let (version, payload, protocol, source, destination, port) = unsafe {
            (
                (self.at(AT) as *const u8).read_unaligned(),
                (self.at(AT + 4) as *const u16).read_unaligned(),
                (self.at(AT + 6) as *const u8).read_unaligned(),
                (self.at(AT + 8) as *const Address).read_unaligned(),
                (self.at(AT + 24) as *const Address).read_unaligned(),
                (self.at(AT + IPV6_HEADER + 2) as *const u16).read_unaligned(),
            )
        };
        let payload = usize::from(u16::from_be(payload));
        if version >> 4 != 6
            || protocol != TCP && protocol != UDP
            || payload < transport_header(protocol)
            || AT + IPV6_HEADER + payload > self.end - self.start
        {
            return false;
        }
        flow.source = source;
        flow.destination = destination;
        flow.set_transport(port, protocol, IPV6);
        true
    }

    /// The TCP flags of a plain IPv4 frame without a tag; `None` when it is none, or of another protocol.
    #[inline(always)]
    pub fn plain_flags(&self) -> Option<u8> {
        let mut flow = Aligned::<Flow>::default();
        let is_plain = self.direct::<u16>(ETHERNET - 2) == Some(TYPE_IPV4)
            && self.is_plain_ipv4::<ETHERNET>(&mut flow)
            && flow.protocol == TCP;
        if is_plain { self.direct(ETHERNET + IPV4_HEADER + TCP_FLAGS) } else { None }
    }

    #[inline(always)]
    fn at(&self, offset: usize) -> usize {
        self.start + offset
    }

    #[inline(always)]
    fn direct<T: AnyBitPattern>(&self, offset: usize) -> Option<T> {
        if offset > MAX_FIXED {
            return None;
        }
        let at = self.start + offset;
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: the bytes from `at` on lie before `data_end`; every bit pattern is a T, read unaligned.
        Some(unsafe { (at as *const T).read_unaligned() })
    }

    /// Reads a value at any offset of the linear part; `None` when that is shorter.
    #[inline(always)]
    fn read<T: AnyBitPattern>(&self, offset: usize) -> Option<T> {
        if offset > FARTHEST {
            return None;
        }
        let at = self.start + offset;
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: the bytes from `at` on lie before `data_end`; every bit pattern is a T, read unaligned.
        Some(unsafe { (at as *const T).read_unaligned() })
    }

    /// Reads a value at any offset, through the kernel's copy; `None` when the frame is shorter.
    #[inline(always)]
    pub fn copy<T: AnyBitPattern>(&self, offset: usize) -> Option<T> {
        let mut bytes = Aligned(MaybeUninit::<T>::uninit());
        // SAFETY: the kernel writes exactly `size_of::<T>()` bytes, or returns an error; it checks the offset itself.
        let done = unsafe {
            bpf_xdp_load_bytes(self.ctx, offset as u32, bytes.0.as_mut_ptr().cast(), size_of::<T>() as u32)
        };
        // SAFETY: on 0 all bytes were written, and every bit pattern is a T.
        if done == 0 { Some(unsafe { bytes.0.assume_init() }) } else { None }
    }
}

/// Parses the frame, and answers with the number of its [`Shape`]. A global function, which the verifier checks once, on
/// its own: inlined, each way through the headers would lead through all of the verdict. Chooses once how to read the
/// headers: in place, or, when they are not in the linear part of the buffer, through the kernel's copy. A choice at each
/// read is more than the verifier follows.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn parse_frame(ctx: *mut xdp_md, flow: *mut Flow) -> u32 {
    // SAFETY: null, or the flow of this program run.
    let Some(flow) = (unsafe { flow.as_mut() }) else { return Shape::Malformed as u32 };
    let frame = Frame::measured(&XdpContext::new(ctx));
    let shape = if frame.length > frame.end - frame.start {
        parse(&Copied(&frame), flow)
    } else {
        parse(&Linear(&frame), flow)
    };
    shape as u32
}

/// A frame whose buffer is one piece.
struct Linear<'a>(&'a Frame);

impl PacketBytes for Linear<'_> {
    #[inline(always)]
    fn frame_len(&self) -> usize {
        self.0.length
    }

    #[inline(always)]
    fn read_fixed<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.direct(offset)
    }

    #[inline(always)]
    fn read_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.read(offset)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        self.0.direct(offset)
    }
}

struct Copied<'a>(&'a Frame);

impl PacketBytes for Copied<'_> {
    #[inline(always)]
    fn frame_len(&self) -> usize {
        self.0.length
    }

    #[inline(always)]
    fn read_fixed<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.copy(offset)
    }

    #[inline(always)]
    fn read_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.copy(offset)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        self.0.copy(offset)
    }
}
