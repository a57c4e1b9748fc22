//! Reason of a driver that refuses an XDP program. A `bpf_link` gives an error code only; rtnetlink, with the same
//! request, gives the driver's words.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use anyhow::{Context as _, Result};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::request::refusal;

// Of <linux/if_link.h>.
const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_FLAGS_REPLACE: u32 = 1 << 4;

/// Asks once more to attach a program, by rtnetlink, after a `bpf_link` was refused; returns the kernel's words. Never
/// replaces a program, and removes its own at once if the kernel attaches it this time. `None` without words.
///
/// # Errors
/// When the request fails otherwise.
pub fn attach_refusal(index: u32, program: BorrowedFd<'_>, native: bool) -> Result<Option<String>> {
    let mode = if native { XDP_FLAGS_DRV_MODE } else { XDP_FLAGS_SKB_MODE };
    let program = program.as_raw_fd();
    let attach = vec![LinkXdp::Fd(program), LinkXdp::Flags(mode | XDP_FLAGS_UPDATE_IF_NOEXIST)];
    let words = refusal(NETLINK_ROUTE, request(index, attach))?;
    if words.is_none() {
        let expected = u32::try_from(program).map(LinkXdp::ExpectedFd)?;
        let detach = vec![LinkXdp::Fd(-1), LinkXdp::Flags(mode | XDP_FLAGS_REPLACE), expected];
        let refused = refusal(NETLINK_ROUTE, request(index, detach))?;
        refused.map_or(Ok(()), |why| Err(anyhow::Error::msg(why))).context("cannot detach again")?;
    }
    Ok(words.filter(|words| !words.is_empty()))
}

fn request(index: u32, xdp: Vec<LinkXdp>) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Xdp(xdp));
    RouteNetlinkMessage::SetLink(message)
}
