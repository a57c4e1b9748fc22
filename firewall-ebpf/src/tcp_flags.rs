//! The TCP flags of a frame, read by a second parse for the few packets whose verdict or record depends on them.

use core::cell::Cell;

use aya_ebpf::{EbpfContext as _, bindings::xdp_md, programs::XdpContext};
use firewall_common::{
    fast_path,
    packet::{Flow, PacketBytes, Shape, parse},
};

use crate::{accelerations::is_on, aligned::Aligned, frame::Frame};

pub const FIN_SYN_RST_ACK: u8 = 0x17;
pub const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// An offset at which no frame has a byte.
const NOWHERE: usize = u32::MAX as usize;

/// Parses the frame into `flow`; returns its shape and, of a TCP packet that contains them, its flags. Reads everything
/// through the kernel's copy: slower than [`Frame::parse`], but less for the verifier to follow.
#[inline(always)]
pub fn parse_with_flags(ctx: &XdpContext, flow: &mut Flow) -> (Shape, Option<u8>) {
    let frame = Frame::measured(ctx);
    let traced = Traced { frame: &frame, flags: Cell::new(NOWHERE) };
    let shape = parse(&traced, flow);
    (shape, frame.copy::<u8>(traced.flags.get()))
}

/// Returns whether the TCP packet can open a connection.
#[inline(always)]
pub fn can_open(ctx: &XdpContext) -> bool {
    judge_flags(ctx.as_ptr().cast()) != 0
}

/// Answers 0 for a TCP packet that cannot open a connection: one with ACK, or without SYN. A packet without readable
/// flags can open one. A function that the verifier checks once, on its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_flags(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let plain = if is_on(fast_path::HEADERS) { Frame::new(&ctx).plain_flags() } else { None };
    let flags = match plain {
        Some(flags) => Some(flags),
        None => parse_with_flags(&ctx, &mut Aligned::<Flow>::default()).1,
    };
    flags.is_none_or(|flags| flags & (SYN | ACK) == SYN).into()
}

/// Records the offset of the flags.
struct Traced<'a> {
    frame: &'a Frame,
    flags: Cell<usize>,
}

impl PacketBytes for Traced<'_> {
    #[inline(always)]
    fn frame_len(&self) -> usize {
        self.frame.length()
    }

    #[inline(always)]
    fn read_fixed<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.frame.copy(offset)
    }

    #[inline(always)]
    fn read_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.frame.copy(offset)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        self.frame.copy(offset)
    }

    #[inline(always)]
    fn found_flags(&self, offset: usize) {
        self.flags.set(offset);
    }
}
