//! The route to a peer, by rtnetlink.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use libc::{RTA_OIF, RTN_UNICAST};
use netlink_packet_core::parse_u32;
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::link::attributes;
use super::request::get;

/// `struct rtmsg`, in bytes.
const HEADER: usize = 12;

/// Index of the interface by which packets leave from an address of this host to a peer; `None` for a peer on this host.
/// `bound`: the interface to which the socket is bound, 0 for none.
///
/// # Errors
/// When there is no route, the request fails, or the reply is malformed.
pub fn interface_to(peer: IpAddr, local: IpAddr, bound: u32) -> Result<Option<u32>> {
    let mut message = RouteMessage::default();
    let (family, length) = match peer {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header.address_family = family;
    (message.header.destination_prefix_length, message.header.source_prefix_length) = (length, length);
    message.attributes = vec![RouteAttribute::Destination(peer.into()), RouteAttribute::Source(local.into())];
    if bound != 0 {
        message.attributes.push(RouteAttribute::Oif(bound));
    }
    let route = || -> Result<Option<u32>> {
        let answer = get(NETLINK_ROUTE, RouteNetlinkMessage::GetRoute(message), libc::ESRCH)?;
        read(&answer.context("no route")?.body)
    };
    route().with_context(|| format!("route from {local} to {peer}"))
}

fn read(body: &[u8]) -> Result<Option<u32>> {
    let [_, _, _, _, _, _, _, kind, ..] = *body.first_chunk::<HEADER>().context("short answer")?;
    if kind != RTN_UNICAST {
        return Ok(None);
    }
    let list = attributes(body.get(HEADER..).unwrap_or_default())?;
    let interface = list.iter().find(|attribute| attribute.kind() == RTA_OIF);
    Ok(Some(parse_u32(interface.context("no interface")?.value())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_on_this_host_has_no_interface() {
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(interface_to(local, local, 0).unwrap(), None);
        let address = [8, 0, 4, 0, 3, 0, 0, 0];
        let unicast = [&[2, 32, 0, 0, 254, 0, 0, RTN_UNICAST, 0, 0, 0, 0][..], &address].concat();
        assert_eq!(read(&unicast).unwrap(), Some(3));
        for malformed in [&unicast[..11], &unicast[..12], &unicast[..14]] {
            assert!(read(malformed).is_err(), "{malformed:?}");
        }
    }
}
