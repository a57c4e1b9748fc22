//! The second parse of a frame, for the few recorded packets: addresses, ports and transport class.

use core::cell::Cell;

use aya_ebpf::programs::XdpContext;
use firewall_common::{
    CLASS_NONE, CLASS_SYN, CLASS_TCP, CLASS_UDP,
    packet::{Flow, PacketBytes, Shape, parse},
};

use crate::frame::Frame;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Offset of the flags in a TCP header.
const FLAGS: usize = 13;
const FIN_SYN_RST_ACK: u8 = 0x17;
const SYN: u8 = 0x02;

/// Parses the frame into `flow` and returns its class. Reads everything through the kernel's copy: slower than
/// [`Frame::parse`], but less for the verifier to follow.
#[inline(always)]
pub fn denied_flow(ctx: &XdpContext, flow: &mut Flow) -> u8 {
    let frame = Frame::measured(ctx);
    let traced = Traced { frame: &frame, last: Cell::new(0) };
    if parse(&traced, flow) != Shape::Port {
        return CLASS_NONE;
    }
    match flow.protocol {
        // The last read was that of the ports, which start the header.
        TCP => match frame.copy::<u8>(traced.last.get() + FLAGS) {
            Some(flags) if flags & FIN_SYN_RST_ACK == SYN => CLASS_SYN,
            _ => CLASS_TCP,
        },
        UDP => CLASS_UDP,
        _ => CLASS_NONE,
    }
}

/// Records the offset of the last read.
struct Traced<'a> {
    frame: &'a Frame,
    last: Cell<usize>,
}

impl PacketBytes for Traced<'_> {
    #[inline(always)]
    fn frame_len(&self) -> usize {
        self.frame.length()
    }

    #[inline(always)]
    fn read_fixed<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.last.set(offset);
        self.frame.copy(offset)
    }

    #[inline(always)]
    fn read_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.last.set(offset);
        self.frame.copy(offset)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        self.frame.copy(offset)
    }
}
