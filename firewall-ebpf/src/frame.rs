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
    IPV4, fast_path,
    packet::{Flow, MAX_FIXED, PacketBytes, Shape, parse},
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

/// Length of the Ethernet header, and of the longest frame of an ordinary network, in bytes.
const ETHERNET: usize = 14;
const ORDINARY: usize = 1_514;
const IPV4_HEADER: usize = 20;
const TCP: u8 = 6;
const TCP_HEADER: usize = 20;
const TCP_FLAGS: usize = 13;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
/// EtherType IPv4, followed by version 4 and a header of five words in one byte.
const PLAIN: [u8; 4] = [0x08, 0x00, 0x45, 0];
const PLAIN_MASK: [u8; 4] = [0xff, 0xff, 0xff, 0];
/// Mask of the fragment offset and "more fragments", in network byte order.
const FRAGMENT: u16 = 0x3fff_u16.to_be();

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

    /// Parses the frame. Chooses once how to read the fixed headers: in place, or, when they are not in the linear part
    /// of the buffer, through the kernel's copy. A choice at each read is more than the verifier follows.
    #[inline(always)]
    pub fn parse(&mut self, flow: &mut Flow) -> Shape {
        if is_on(fast_path::HEADERS) && self.is_plain(flow) {
            self.length = self.end - self.start;
            return Shape::Port;
        }
        self.measure();
        if self.start + MAX_FIXED > self.end && self.length > self.end - self.start {
            parse(&Copied(self), flow)
        } else {
            parse(&Linear(self), flow)
        }
    }

    /// Plain-header parse of most packets: IPv4 without tag, option or fragment, TCP or UDP, whole in an ordinary
    /// frame. The parser handles all others, and would give the same result here, later. The length of the frame takes
    /// no call to the kernel either: no driver starts a second buffer before the first contains this much, except for
    /// padding.
    #[inline(always)]
    fn is_plain(&self, flow: &mut Flow) -> bool {
        let linear = self.end - self.start;
        if self.start + ETHERNET + IPV4_HEADER + UDP_HEADER > self.end || linear > ORDINARY {
            return false;
        }
        // SAFETY: everything up to the ports lies before `data_end`; plain integers, read unaligned.
        let (start, total, fragment, protocol, source, destination, port) = unsafe {
            (
                (self.at(ETHERNET - 2) as *const u32).read_unaligned(),
                (self.at(ETHERNET + 2) as *const u16).read_unaligned(),
                (self.at(ETHERNET + 6) as *const u16).read_unaligned(),
                (self.at(ETHERNET + 9) as *const u8).read_unaligned(),
                (self.at(ETHERNET + 12) as *const u32).read_unaligned(),
                (self.at(ETHERNET + 16) as *const u32).read_unaligned(),
                (self.at(ETHERNET + IPV4_HEADER + 2) as *const u16).read_unaligned(),
            )
        };
        let total = usize::from(u16::from_be(total));
        let needed = if protocol == TCP { IPV4_HEADER + TCP_HEADER } else { IPV4_HEADER + UDP_HEADER };
        if start & u32::from_ne_bytes(PLAIN_MASK) != u32::from_ne_bytes(PLAIN)
            || fragment & FRAGMENT != 0
            || protocol != TCP && protocol != UDP
            || total < needed
            || ETHERNET + total > linear
        {
            return false;
        }
        flow.source[0] = source;
        flow.destination[0] = destination;
        flow.port = port;
        flow.protocol = protocol;
        flow.family = IPV4;
        true
    }

    /// The TCP flags of a plain frame; `None` when it is none, or of another protocol.
    #[inline(always)]
    pub fn plain_flags(&self) -> Option<u8> {
        let mut flow = Aligned::<Flow>::default();
        if self.is_plain(&mut flow) && flow.protocol == TCP {
            self.direct(ETHERNET + IPV4_HEADER + TCP_FLAGS)
        } else {
            None
        }
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
        self.0.copy(offset)
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
