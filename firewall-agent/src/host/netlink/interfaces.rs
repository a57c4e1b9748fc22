//! The interfaces of this network namespace, with their kinds and addresses.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use libc::{IFA_ADDRESS, IFA_BROADCAST, IFA_LOCAL};
use netlink_packet_core::{Emitable as _, Parseable as _};
use netlink_packet_route::address::{AddressAttribute, AddressHeader, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkLayerType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::Attached;
use super::drivers::native_support;
use super::link::{Link, attributes};
use super::request::dump;
use crate::audit::Interface;

/// Every interface; the caller knows by name in which mode our program runs.
///
/// # Errors
/// When a request fails, or a reply is malformed.
pub fn interfaces(mode: impl Fn(&str) -> Option<Attached>) -> Result<Vec<Interface>> {
    let query = || -> Result<Vec<Interface>> {
        let links = dump(NETLINK_ROUTE, Link::request(None))?;
        let links = links.iter().map(|message| Ok(Interface::from(Link::parse(&message.body)?)));
        let mut interfaces = links.collect::<Result<Vec<_>>>()?;
        let native = native_support().context("cannot query drivers")?;
        let every_address = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        for message in dump(NETLINK_ROUTE, every_address)? {
            let Some((index, address, broadcast)) = address(&message.body)? else { continue };
            if let Some(one) = interfaces.iter_mut().find(|one| one.index == index) {
                one.addresses.push(address);
                one.broadcasts.extend(broadcast);
            }
        }
        for one in &mut interfaces {
            let mode = mode(&one.name);
            (one.filtered, one.generic) = (mode.is_some(), mode == Some(Attached::Generic));
            // The program needs Ethernet headers.
            one.native = one.native.or_else(|| native.get(&one.index).copied());
        }
        Ok(interfaces)
    };
    query().context("cannot query interfaces")
}

impl From<Link> for Interface {
    fn from(link: Link) -> Self {
        let ethernet = matches!(link.header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback);
        Self {
            judged_on: link.judged_on(),
            index: link.header.index,
            name: link.name,
            kind: link.kind.map(|kind| kind.to_string()),
            up: link.header.flags.contains(LinkFlags::Up),
            loopback: link.header.flags.contains(LinkFlags::Loopback),
            multicast: link.header.flags.contains(LinkFlags::Multicast),
            controller: link.controller,
            native: (!ethernet).then_some(false),
            ..Self::default()
        }
    }
}

/// Index of the interface, address, and broadcast address of its network, in an RTM_NEWADDR message; `None` for families
/// other than IP, whose addresses the crate rejects by their length.
fn address(body: &[u8]) -> Result<Option<(u32, IpAddr, Option<IpAddr>)>> {
    let header = AddressHeader::parse(body).context("short answer")?;
    if !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return Ok(None);
    }
    let parse = || -> Result<(Option<IpAddr>, Option<IpAddr>)> {
        let list = attributes(body.get(header.buffer_len()..).unwrap_or_default())?;
        let find = |number| list.iter().find(|attribute| attribute.kind() == number);
        // On a point-to-point interface, `IFA_ADDRESS` is the peer's.
        let own = find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS)).map(AddressAttribute::parse).transpose()?;
        let broadcast = find(IFA_BROADCAST).map(AddressAttribute::parse).transpose()?;
        let own = match own {
            Some(AddressAttribute::Local(address) | AddressAttribute::Address(address)) => Some(address),
            _ => None,
        };
        Ok(match broadcast {
            Some(AddressAttribute::Broadcast(broadcast)) => (own, Some(IpAddr::V4(broadcast))),
            _ => (own, None),
        })
    };
    let (address, broadcast) =
        parse().with_context(|| format!("address of the interface with index {}", header.index))?;
    Ok(address.map(|address| (header.index, address, broadcast)))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::DefaultNla;

    use super::*;

    fn message(family: AddressFamily, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = AddressMessage::default();
        (message.header.family, message.header.index) = (family, 3);
        let raw = |(number, value): &(u16, &[u8])| DefaultNla::new(*number, value.to_vec());
        message.attributes = attributes.iter().map(raw).map(AddressAttribute::Other).collect();
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    #[test]
    fn only_local_ip_addresses_are_returned() {
        let v6 = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap();
        let peer: (u16, &[u8]) = (IFA_ADDRESS, &[192, 0, 2, 2]);
        let own: (u16, &[u8]) = (IFA_LOCAL, &[192, 0, 2, 1]);
        let odd: (u16, &[u8]) = (libc::IFA_LABEL, b"\xff");
        for (family, attributes, expected) in [
            (AddressFamily::Inet, &[peer, own, odd][..], Some("192.0.2.1")),
            (AddressFamily::Inet, &[peer], Some("192.0.2.2")),
            (AddressFamily::Inet6, &[(IFA_ADDRESS, &v6.octets())], Some("2001:db8::1")),
            (AddressFamily::Inet, &[odd], None),
            // An address of one byte.
            (AddressFamily::Phonet, &[(IFA_LOCAL, &[0x6c])], None),
        ] {
            let expected = expected.map(|text| (3, text.parse().unwrap(), None));
            assert_eq!(address(&message(family, attributes)).unwrap(), expected, "{attributes:?}");
        }
    }

    #[test]
    fn broadcast_address_is_returned_beside_the_local_one() {
        let list: [(u16, &[u8]); 2] = [(IFA_LOCAL, &[192, 0, 2, 1]), (IFA_BROADCAST, &[192, 0, 2, 255])];
        let found = address(&message(AddressFamily::Inet, &list)).unwrap().unwrap();
        assert_eq!(found, (3, "192.0.2.1".parse().unwrap(), Some("192.0.2.255".parse().unwrap())));
    }

    #[test]
    fn a_malformed_address_is_an_error_that_names_the_interface() {
        let short = address(&message(AddressFamily::Inet, &[(IFA_LOCAL, &[192, 0, 2])])).unwrap_err();
        assert!(format!("{short:#}").starts_with("address of the interface with index 3: "), "{short:#}");
        assert!(address(&[0; 7]).is_err());
    }

    #[test]
    fn the_kernels_interfaces_are_read() {
        let found = interfaces(|name| (name == "lo").then_some(Attached::Generic)).unwrap();
        let lo = found.iter().find(|one| one.name == "lo").unwrap();
        assert!(lo.loopback && lo.filtered && lo.generic && lo.kind.is_none(), "{lo:?}");
        assert_ne!(lo.native, Some(true), "{lo:?}");
    }
}
