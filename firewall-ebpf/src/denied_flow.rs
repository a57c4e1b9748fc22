//! The second parse of a frame, for the few recorded packets: addresses, ports and transport class.

use aya_ebpf::programs::XdpContext;
use firewall_common::{
    CLASS_NONE, CLASS_SYN, CLASS_TCP, CLASS_UDP,
    packet::{Flow, Shape},
};

use crate::tcp_flags::{FIN_SYN_RST_ACK, SYN, parse_with_flags};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Parses the frame into `flow` and returns its class.
#[inline(always)]
pub fn denied_flow(ctx: &XdpContext, flow: &mut Flow) -> u8 {
    let (shape, flags) = parse_with_flags(ctx, flow);
    if shape != Shape::Port {
        return CLASS_NONE;
    }
    match flow.protocol {
        TCP if flags.is_some_and(|flags| flags & FIN_SYN_RST_ACK == SYN) => CLASS_SYN,
        TCP => CLASS_TCP,
        UDP => CLASS_UDP,
        _ => CLASS_NONE,
    }
}
