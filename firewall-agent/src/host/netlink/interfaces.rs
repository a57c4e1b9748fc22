//! The interfaces of this network namespace, with their kinds and addresses.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::request::{Attributes, Message, dump};
use crate::audit::Interface;

const IFINFOMSG: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;

const IFADDRMSG: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// Every interface; the caller decides by name which are filtered.
///
/// # Errors
/// When the request fails, or the reply is malformed.
pub fn interfaces(is_filtered: impl Fn(&str) -> bool) -> Result<Vec<Interface>> {
    let ask = |kind, length| dump(NETLINK_ROUTE, &Message { kind, body: vec![0; length] });
    let look = || -> Result<Vec<Interface>> {
        let links = ask(libc::RTM_GETLINK, IFINFOMSG)?;
        let mut interfaces = links.iter().map(interface).collect::<Result<Vec<_>>>()?;
        for message in ask(libc::RTM_GETADDR, IFADDRMSG)? {
            let (index, address) = address(&message)?;
            if let Some(one) = interfaces.iter_mut().find(|one| one.index == index) {
                one.addresses.extend(address);
            }
        }
        for one in &mut interfaces {
            one.filtered = is_filtered(&one.name);
        }
        Ok(interfaces)
    };
    look().context("cannot query interfaces")
}

fn interface(message: &Message) -> Result<Interface> {
    let (head, rest) = message.body.split_first_chunk::<IFINFOMSG>().context("short answer")?;
    let attributes = Attributes::new(rest);
    let flags = libc::c_int::from_ne_bytes([head[8], head[9], head[10], head[11]]);
    // The index of a lower interface in another namespace belongs to that namespace.
    let elsewhere = attributes.get(IFLA_LINK_NETNSID)?.is_some();
    Ok(Interface {
        index: u32::from_ne_bytes([head[4], head[5], head[6], head[7]]),
        name: attributes.text(IFLA_IFNAME)?.context("an interface without a name")?,
        kind: attributes.inside(IFLA_LINKINFO)?.text(IFLA_INFO_KIND)?,
        up: flags & libc::IFF_UP != 0,
        loopback: flags & libc::IFF_LOOPBACK != 0,
        controller: attributes.number(IFLA_MASTER)?,
        lower: attributes.number(IFLA_LINK)?.filter(|_| !elsewhere),
        addresses: Vec::new(),
        filtered: false,
    })
}

fn address(message: &Message) -> Result<(u32, Option<IpAddr>)> {
    let (head, rest) = message.body.split_first_chunk::<IFADDRMSG>().context("short answer")?;
    let attributes = Attributes::new(rest);
    // On a point-to-point interface, `IFA_ADDRESS` is the peer's.
    let bytes =
        attributes.get(IFA_LOCAL)?.map_or_else(|| attributes.get(IFA_ADDRESS), |own| Ok(Some(own)))?;
    Ok((u32::from_ne_bytes([head[4], head[5], head[6], head[7]]), bytes.and_then(ip)))
}

/// Parses an address in network byte order; `None` when the length is not 4 or 16 bytes.
pub(in crate::host) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
