//! Baseline programs to measure [`firewall`](crate::firewall) and [`socket_filter`](crate::socket_filter). Only `cargo xtask bench` loads them.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    helpers::generated::bpf_get_prandom_u32,
    macros::{cgroup_skb, xdp},
    programs::{SkBuffContext, XdpContext},
};
use firewall_common::packet::Flow;

use crate::{aligned::Aligned, filter, frame::Frame};

/// Offsets in a frame without VLAN tags.
const ETHERTYPE: usize = 12;
const CHECKSUM_V4: usize = 24;
const SOURCE_V4: usize = 26;
const SOURCE_V6: usize = 22;
const TYPE_IPV4: u16 = 0x0800;

#[xdp(frags)]
#[inline(always)]
pub fn empty_drop(_: XdpContext) -> u32 {
    XDP_DROP
}

#[xdp(frags)]
#[inline(always)]
pub fn empty_pass(_: XdpContext) -> u32 {
    XDP_PASS
}

/// Passes every packet to its socket: baseline of [`socket_filter`](crate::socket_filter).
#[cgroup_skb(ingress)]
#[inline(always)]
pub fn empty_ingress(_: SkBuffContext) -> i32 {
    1
}

/// Parses the headers up to the port, ignores the result and drops: what no firewall can do without.
#[xdp(frags)]
#[inline(always)]
pub fn parse_only(ctx: XdpContext) -> u32 {
    parse(&ctx)
}

/// The same, with a new source in each packet.
#[xdp(frags)]
#[inline(always)]
pub fn new_source_parse(ctx: XdpContext) -> u32 {
    change_source(&ctx);
    parse(&ctx)
}

#[inline(always)]
fn parse(ctx: &XdpContext) -> u32 {
    let mut flow = Aligned::<Flow>::default();
    let shape = Frame::new(ctx).parse(&mut flow) as u32;
    let words = flow.source.iter().chain(&flow.destination).fold(shape, |all, word| all ^ word);
    // Uses every field, so that the compiler removes no read.
    if words ^ u32::from(flow.port) == 0x5eed_f00d { XDP_PASS } else { XDP_DROP }
}

/// Baseline: the cost of changing the source.
#[xdp(frags)]
#[inline(always)]
pub fn new_source_drop(ctx: XdpContext) -> u32 {
    change_source(&ctx);
    XDP_DROP
}

#[xdp(frags)]
#[inline(always)]
pub fn new_source_pass(ctx: XdpContext) -> u32 {
    change_source(&ctx);
    XDP_PASS
}

/// Packet generator: sends the frame back out of its interface.
#[xdp(frags)]
#[inline(always)]
pub fn new_source_send(ctx: XdpContext) -> u32 {
    change_source(&ctx);
    XDP_TX
}

/// The firewall, with a new source in each packet.
#[xdp(frags)]
#[inline(always)]
pub fn new_source_firewall(ctx: XdpContext) -> u32 {
    change_source(&ctx);
    filter(&ctx)
}

/// Sets the source to a random address in 128.0.0.0/2, or its first word in IPv6.
#[inline(always)]
fn change_source(ctx: &XdpContext) {
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + SOURCE_V4 + size_of::<u32>() > end {
        return;
    }
    // SAFETY: a helper without arguments.
    let random = unsafe { bpf_get_prandom_u32() } & 0x3fff_ffff | 0x8000_0000;
    // SAFETY: everything up to the end of the IPv4 source lies before `data_end`; plain integers, read unaligned.
    unsafe {
        if ((start + ETHERTYPE) as *const u16).read_unaligned() != TYPE_IPV4.to_be() {
            ((start + SOURCE_V6) as *mut u32).write_unaligned(random.to_be());
            return;
        }
        let (source, checksum) = ((start + SOURCE_V4) as *mut u32, (start + CHECKSUM_V4) as *mut u16);
        let old = u32::from_be(source.read_unaligned());
        source.write_unaligned(random.to_be());
        // RFC 1624, equation 3.
        let mut sum = u32::from(!u16::from_be(checksum.read_unaligned()));
        sum += (!old & 0xffff) + (!old >> 16) + (random & 0xffff) + (random >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        checksum.write_unaligned((!(sum as u16)).to_be());
    }
}
