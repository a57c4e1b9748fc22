//! Routes that end at this host in an unusual way, by rtnetlink: local prefixes, segments, MPLS labels.

use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use libc::{AF_INET, AF_INET6, AF_MPLS, RTA_DST, RTN_LOCAL};
use netlink_packet_core::parse_ip;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::link::attributes;
use super::request::dump;
use crate::audit::{Routes, Unwrapping, UnwrappingKind};

/// `struct rtmsg`, in bytes.
const HEADER: usize = 12;
// Of <linux/rtnetlink.h>.
const RTA_NEWDST: u16 = 19;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;
// Of <linux/lwtunnel.h> and <linux/seg6_local.h>.
const LWTUNNEL_ENCAP_SEG6_LOCAL: u16 = 7;
const SEG6_LOCAL_ACTION: u16 = 1;
/// Actions that leave the outer header in force, with a further one before it, and their numbers.
const PUSHING: [u32; 2] = [9, 10];
/// Names of the actions, from 1.
const ACTIONS: [&str; 16] = [
    "End",
    "End.X",
    "End.T",
    "End.DX2",
    "End.DX6",
    "End.DX4",
    "End.DT6",
    "End.DT4",
    "End.B6",
    "End.B6.Encaps",
    "End.BM",
    "End.S",
    "End.AS",
    "End.AM",
    "End.BPF",
    "End.DT46",
];

/// Routes of all families and tables.
///
/// # Errors
/// When the request fails, or the reply is malformed.
pub fn routes() -> Result<Routes> {
    let mut found = Routes::default();
    // Of no family: the kernel dumps every family, and asks no module for one that it lacks.
    for message in dump(NETLINK_ROUTE, RouteNetlinkMessage::GetRoute(RouteMessage::default()))? {
        read(&message.body, &mut found)?;
    }
    Ok(found)
}

fn read(body: &[u8], found: &mut Routes) -> Result<()> {
    let [family, length, .., kind, _, _, _, _] = *body.first_chunk::<HEADER>().context("short answer")?;
    let list = attributes(body.get(HEADER..).unwrap_or_default())?;
    let find = |number| list.iter().find(|attribute| attribute.kind() == number).map(|one| one.value());
    let destination = find(RTA_DST);
    match i32::from(family) {
        AF_MPLS => {
            // A route with a new label leads on.
            if let (Some(label), None) = (destination.and_then(label), find(RTA_NEWDST)) {
                let object = format!("mpls route: label {label}");
                found.unwrapping.push(Unwrapping { kind: UnwrappingKind::Mpls, object });
            }
        }
        AF_INET | AF_INET6 => {
            let address = destination.map(parse_ip).transpose()?;
            let unspecified =
                if i32::from(family) == AF_INET { [0; 4].into() } else { IpAddr::from([0_u16; 8]) };
            let prefix = IpNet::new(address.unwrap_or(unspecified), length)?;
            if kind == RTN_LOCAL && !prefix.addr().is_loopback() {
                found.local.push(prefix);
            }
            let encapsulation =
                find(RTA_ENCAP_TYPE).and_then(|kind| Some(u16::from_ne_bytes(*kind.first_chunk()?)));
            if encapsulation == Some(LWTUNNEL_ENCAP_SEG6_LOCAL) {
                let action = action(find(RTA_ENCAP).unwrap_or_default())?;
                if !PUSHING.contains(&action) {
                    let mut object = format!("route {prefix}: seg6local ");
                    match usize::try_from(action).ok().and_then(|at| ACTIONS.get(at.checked_sub(1)?)) {
                        Some(name) => object.push_str(name),
                        None => write!(object, "action {action}")?,
                    }
                    found.unwrapping.push(Unwrapping { kind: UnwrappingKind::Seg6, object });
                }
            }
        }
        // Multicast routing.
        _ => {}
    }
    Ok(())
}

fn action(encapsulation: &[u8]) -> Result<u32> {
    let list = attributes(encapsulation)?;
    let action = list.iter().find(|attribute| attribute.kind() == SEG6_LOCAL_ACTION);
    Ok(action.and_then(|action| Some(u32::from_ne_bytes(*action.value().first_chunk()?))).unwrap_or_default())
}

/// The label of an entry of a label stack, its upper 20 bits.
fn label(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.first_chunk()?) >> 12)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DefaultNla, Emitable as _};

    use super::*;

    fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
        let one = DefaultNla::new(number, value.to_vec());
        let mut bytes = vec![0; one.buffer_len()];
        one.emit(&mut bytes);
        bytes
    }

    fn route(family: i32, length: u8, kind: u8, attributes: &[(u16, &[u8])]) -> Routes {
        let mut body = vec![u8::try_from(family).unwrap(), length, 0, 0, 254, 3, 0, kind, 0, 0, 0, 0];
        attributes.iter().for_each(|(number, value)| body.extend(attribute(*number, value)));
        let mut found = Routes::default();
        read(&body, &mut found).unwrap();
        found
    }

    #[test]
    fn local_prefixes_are_read() {
        let local = |family, length, kind, address: &[u8]| {
            route(family, length, kind, &[(RTA_DST, address)])
                .local
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(local(AF_INET, 24, RTN_LOCAL, &[10, 0, 0, 0]), ["10.0.0.0/24"]);
        assert_eq!(local(AF_INET, 24, libc::RTN_UNICAST, &[10, 0, 0, 0]), [""; 0]);
        assert_eq!(local(AF_INET, 8, RTN_LOCAL, &[127, 0, 0, 0]), [""; 0]);
        assert_eq!(route(AF_INET6, 0, RTN_LOCAL, &[]).local, ["::/0".parse().unwrap()]);
        // A multicast route of the kernel's table 128.
        assert_eq!(route(128, 32, RTN_LOCAL, &[(RTA_DST, &[10, 0, 0, 1])]), Routes::default());
    }

    /// Answers of Linux 6.12 after `ip -f mpls route add 100 dev lo`, and `ip -f mpls route add 101 as 200 via inet
    /// 192.0.2.66`.
    #[test]
    #[cfg(target_endian = "little")]
    fn recorded_mpls_routes_that_end_here_are_read() {
        let recorded = |hex: &str| {
            let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            let body: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
            let mut found = Routes::default();
            read(&body, &mut found).unwrap();
            found
        };
        let ends = recorded("1c140000fe0300010000000008000100000641000800040001000000").unwrapping;
        let objects: Vec<&str> = ends.iter().map(|one| one.object.as_str()).collect();
        assert_eq!((objects, ends[0].kind), (vec!["mpls route: label 100"], UnwrappingKind::Mpls));
        let onward = "1c140000fe03000100000000080001000006510008001300000c81000a0012000200c000024200000800040002000000";
        assert_eq!(recorded(onward), Routes::default());
    }

    #[test]
    fn segment_actions_that_remove_a_header_are_read() {
        let prefix: (u16, &[u8]) = (RTA_DST, &[0x20, 1, 0xd, 0xb8, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let kind: (u16, &[u8]) = (RTA_ENCAP_TYPE, &LWTUNNEL_ENCAP_SEG6_LOCAL.to_ne_bytes());
        for (action, expected) in [
            (6_u32, Some("route 2001:db8:a::1/128: seg6local End.DX4")),
            (16, Some("route 2001:db8:a::1/128: seg6local End.DT46")),
            (40, Some("route 2001:db8:a::1/128: seg6local action 40")),
            (10, None),
        ] {
            let encapsulation = attribute(SEG6_LOCAL_ACTION, &action.to_ne_bytes());
            let found = route(AF_INET6, 128, 1, &[prefix, kind, (RTA_ENCAP, &encapsulation)]).unwrapping;
            let objects: Vec<&str> = found.iter().map(|one| one.object.as_str()).collect();
            assert_eq!(objects, expected.into_iter().collect::<Vec<_>>(), "{action}");
        }
        // Another encapsulation, such as seg6.
        let other: (u16, &[u8]) = (RTA_ENCAP_TYPE, &5_u16.to_ne_bytes());
        assert_eq!(route(AF_INET6, 128, 1, &[prefix, other]), Routes::default());
    }

    #[test]
    fn the_kernels_routes_are_read() {
        routes().unwrap();
        assert!(read(&[0; HEADER - 1], &mut Routes::default()).is_err());
        assert!(read(&[[2, 33].as_slice(), &[0; 10]].concat(), &mut Routes::default()).is_err());
    }
}
