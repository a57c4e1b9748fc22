//! Link messages, decoded by netlink-packet-route one attribute at a time.
//!
//! The crate decodes a message as a whole and rejects it for one attribute in an unexpected form: a name that is not
//! UTF-8, a statistics block or driver option of a newer kernel. One such interface would hide all others. So only the
//! attributes in use are decoded, and every other one is skipped by its length.

use anyhow::{Context as _, Result};
use libc::{
    IFLA_ALT_IFNAME, IFLA_GRO_MAX_SIZE, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINK, IFLA_LINK_NETNSID,
    IFLA_LINKINFO, IFLA_MASTER, IFLA_PROP_LIST, IFLA_XDP,
};
use netlink_packet_core::{
    DecodeError, Emitable as _, NlaBuffer, NlasIterator, Parseable as _, ParseableParametrized as _,
    parse_u32,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkExtentMask, LinkHeader, LinkMessage, LinkXdp, XdpAttached,
};

/// Of <linux/if_link.h>, since Linux 6.3; the libc crate lacks it.
const IFLA_GRO_IPV4_MAX_SIZE: u16 = 64;

/// Link kinds whose packets arrive on the lower interface first.
const UPPER_KINDS: [&str; 5] = ["ipvlan", "ipvtap", "macvlan", "macvtap", "vlan"];

/// One interface, from an RTM_NEWLINK message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// The crate logs an unknown hardware type and replaces it by `Void`, which is not Ethernet.
    pub header: LinkHeader,
    /// Bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Alternative names, converted in the same way.
    pub alternatives: Vec<String>,
    /// Kind of a virtual interface; `None` for hardware.
    pub kind: Option<InfoKind>,
    /// Index of the interface that this one is a member of.
    pub controller: Option<u32>,
    /// Index of the interface below; `None` if that is in another network namespace, to which its index belongs.
    pub lower: Option<u32>,
    /// Mode of the attached XDP program, and its id. The kernel gives no id for programs in several modes.
    pub program: Option<(XdpAttached, u32)>,
    /// Largest packet that GRO makes of received ones, in bytes, of both families; 0 if the kernel does not state it.
    pub gro_max_size: u32,
}

impl Link {
    /// Request for one interface, or for all. The reply omits traffic counters.
    pub fn request(name: Option<&str>) -> RouteNetlinkMessage {
        let mut message = LinkMessage::default();
        message.attributes.extend(name.map(|name| LinkAttribute::IfName(name.to_owned())));
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        RouteNetlinkMessage::GetLink(message)
    }

    /// Parses the bytes after the netlink header.
    ///
    /// # Errors
    /// When they are no list of attributes, the name is missing, or an attribute in use is malformed.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let header = LinkHeader::parse(body).context("short answer")?;
        let list = attributes(body.get(header.buffer_len()..).unwrap_or_default())
            .with_context(|| format!("interface with index {}", header.index))?;
        let find = |number| list.iter().find(|attribute| attribute.kind() == number);
        // The crate rejects a name that is not UTF-8, which the kernel permits.
        let name = text(find(IFLA_IFNAME).context("an interface without a name")?.value());
        let decode = |number| {
            let decode = |one| LinkAttribute::parse_with_param(one, header.interface_family);
            find(number).map(decode).transpose().with_context(|| format!("interface {name}"))
        };
        let mut link = Self { header: header.clone(), name: name.clone(), ..Self::default() };
        if let Some(info) = find(IFLA_LINKINFO) {
            link.kind = kind(info.value()).with_context(|| format!("interface {name}"))?;
        }
        if let Some(LinkAttribute::Controller(index)) = decode(IFLA_MASTER)? {
            link.controller = Some(index);
        }
        if let (Some(LinkAttribute::Link(index)), None) = (decode(IFLA_LINK)?, find(IFLA_LINK_NETNSID)) {
            link.lower = Some(index);
        }
        if let Some(LinkAttribute::Xdp(facts)) = decode(IFLA_XDP)? {
            link.program = program(&facts);
        }
        if let Some(list) = find(IFLA_PROP_LIST) {
            link.alternatives = alternatives(list.value()).with_context(|| format!("interface {name}"))?;
        }
        for number in [IFLA_GRO_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE] {
            let size = find(number).map(|one| parse_u32(one.value())).transpose();
            let size = size.with_context(|| format!("interface {name}"))?;
            link.gro_max_size = link.gro_max_size.max(size.unwrap_or_default());
        }
        Ok(link)
    }

    /// Index of the lower interface, if a program there judges every packet of this one.
    pub fn judged_on(&self) -> Option<u32> {
        let kind = self.kind.as_ref()?.to_string();
        self.lower.filter(|_| UPPER_KINDS.contains(&kind.as_str()))
    }
}

/// Splits a list of attributes; decodes none.
pub(super) fn attributes(bytes: &[u8]) -> Result<Vec<NlaBuffer<&[u8]>>> {
    let list: Result<_, DecodeError> = NlasIterator::new(bytes).collect();
    list.context("not a list of attributes")
}

/// The names in IFLA_PROP_LIST.
fn alternatives(list: &[u8]) -> Result<Vec<String>> {
    let list = attributes(list)?;
    let names = list.iter().filter(|attribute| attribute.kind() == IFLA_ALT_IFNAME);
    Ok(names.map(|attribute| text(attribute.value())).collect())
}

/// The kind in IFLA_LINKINFO. The options beside it are in a form of each driver, and not used.
fn kind(info: &[u8]) -> Result<Option<InfoKind>> {
    let list = attributes(info)?;
    let kind = list.iter().find(|attribute| attribute.kind() == IFLA_INFO_KIND);
    Ok(kind.map(InfoKind::parse).transpose()?)
}

fn program(facts: &[LinkXdp]) -> Option<(XdpAttached, u32)> {
    let (mut mode, mut id) = (None, None);
    for fact in facts {
        if let LinkXdp::Attached(attached) = fact {
            mode = Some(*attached).filter(|attached| *attached != XdpAttached::None);
        } else if let LinkXdp::ProgId(program) = fact {
            id = Some(*program);
        }
    }
    mode.zip(id)
}

/// Text up to its NUL.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DefaultNla, NLA_F_NESTED};
    use netlink_packet_route::link::LinkFlags;

    use super::*;

    const IFLA_INFO_DATA: u16 = 2;
    const IFLA_STATS64: u16 = 23;
    const IFLA_XDP_ATTACHED: u16 = 2;
    const IFLA_XDP_PROG_ID: u16 = 4;
    const UNKNOWN: u16 = 4000;

    /// An attribute in the bytes of the kernel.
    fn raw(number: u16, value: &[u8]) -> LinkAttribute {
        LinkAttribute::Other(DefaultNla::new(number, value.to_vec()))
    }

    /// An encoded list of attributes, as the value of another.
    fn nested(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let list: Vec<_> =
            attributes.iter().map(|(number, value)| DefaultNla::new(*number, value.to_vec())).collect();
        let mut bytes = vec![0; list.as_slice().buffer_len()];
        list.as_slice().emit(&mut bytes);
        bytes
    }

    fn message(index: u32, attributes: Vec<LinkAttribute>) -> Vec<u8> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.attributes = attributes;
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    #[test]
    fn used_attributes_are_decoded() {
        let xdp = nested(&[(IFLA_XDP_ATTACHED, &[1]), (IFLA_XDP_PROG_ID, &7_u32.to_ne_bytes()), (99, &[1])]);
        let link = Link::parse(&message(
            5,
            vec![
                LinkAttribute::IfName("vlan7".to_owned()),
                LinkAttribute::Link(3),
                LinkAttribute::Controller(4),
                raw(IFLA_LINKINFO, &nested(&[(IFLA_INFO_KIND, b"vlan\0"), (IFLA_INFO_DATA, &[1; 5])])),
                raw(IFLA_XDP, &xdp),
                raw(
                    IFLA_PROP_LIST | NLA_F_NESTED,
                    &nested(&[(IFLA_ALT_IFNAME, b"public\0"), (99, &[1]), (IFLA_ALT_IFNAME, b"db\xff\0")]),
                ),
                raw(IFLA_GRO_MAX_SIZE, &65_536_u32.to_ne_bytes()),
                raw(IFLA_GRO_IPV4_MAX_SIZE, &200_000_u32.to_ne_bytes()),
            ],
        ));
        let link = link.unwrap();
        assert_eq!((link.header.index, link.name.as_str()), (5, "vlan7"));
        assert!(link.header.flags.contains(LinkFlags::Up));
        assert_eq!((link.kind, link.lower, link.controller), (Some(InfoKind::Vlan), Some(3), Some(4)));
        assert_eq!(link.program, Some((XdpAttached::Driver, 7)));
        assert_eq!(
            (link.alternatives, link.gro_max_size),
            (vec!["public".to_owned(), "db\u{fffd}".to_owned()], 200_000)
        );
    }

    #[test]
    fn lower_interface_in_another_namespace_has_no_index() {
        let name = LinkAttribute::IfName("veth0".to_owned());
        let elsewhere = vec![name, LinkAttribute::Link(3), LinkAttribute::LinkNetNsId(0)];
        assert_eq!(Link::parse(&message(5, elsewhere)).unwrap().lower, None);
    }

    #[test]
    fn unusual_and_unknown_attributes_hide_no_interface() {
        let odd = vec![
            raw(UNKNOWN, &[0xff; 60_000]),
            raw(IFLA_IFNAME, b"db\xff\xfe0\0"),
            raw(IFLA_STATS64, &[1; 3]),
            raw(libc::IFLA_IFALIAS, b"\xff\xff"),
            raw(IFLA_LINKINFO, &nested(&[(IFLA_INFO_DATA, &[9]), (IFLA_INFO_KIND, b"ovpn\0")])),
        ];
        let link = Link::parse(&message(5, odd.clone())).unwrap();
        assert_eq!(link.name, "db\u{fffd}\u{fffd}0");
        assert_eq!(link.kind.unwrap().to_string(), "ovpn");
        // Control: the decoder of a whole message rejects it.
        assert!(LinkMessage::parse(&message(5, odd)[..]).is_err());
    }

    #[test]
    fn a_malformed_message_is_an_error_that_names_the_interface() {
        let name = LinkAttribute::IfName("db0".to_owned());
        let mut cut = message(5, vec![name.clone()]);
        cut.truncate(cut.len() - 4);
        let mut empty = message(5, Vec::new());
        empty.extend([3, 0, 0, 0]);
        for (body, expected) in [
            (vec![0; 15], "short answer"),
            (message(5, Vec::new()), "an interface without a name"),
            (cut, "interface with index 5: not a list of attributes"),
            (empty, "interface with index 5: not a list of attributes"),
            (message(5, vec![name.clone(), raw(IFLA_MASTER, &[1, 2])]), "interface db0: "),
            (message(5, vec![name.clone(), raw(IFLA_XDP, &[1, 2])]), "interface db0: "),
            (message(5, vec![name.clone(), raw(IFLA_PROP_LIST, &[1, 2])]), "interface db0: not a list"),
            (message(5, vec![name.clone(), raw(IFLA_GRO_MAX_SIZE, &[1, 2])]), "interface db0: "),
            (message(5, vec![name, raw(IFLA_LINKINFO, &[1, 2])]), "interface db0: not a list"),
        ] {
            let error = format!("{:#}", Link::parse(&body).unwrap_err());
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn attached_program_has_mode_and_id() {
        for (mode, id, expected) in [
            (&[][..], &[][..], None),
            (&[0], &[7], None),
            (&[2], &[7], Some((XdpAttached::SocketBuffer, 7))),
            (&[3], &[7], Some((XdpAttached::Hardware, 7))),
            (&[200], &[7], Some((XdpAttached::Other(200), 7))),
            // Several modes at once: no single id.
            (&[4], &[], None),
        ] {
            let mut facts = Vec::new();
            facts.extend(mode.iter().map(|mode| LinkXdp::Attached(XdpAttached::try_from(*mode).unwrap())));
            facts.extend(id.iter().map(|id: &u8| LinkXdp::ProgId(u32::from(*id))));
            assert_eq!(program(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn kinds_use_kernel_names() {
        let kinds = "amt bareudp batadv bond bridge can dummy erspan fou geneve gre gretap gtp gue hsr ifb \
            ip6erspan ip6gre ip6gretap ip6tnl ipip ipvlan ipvtap l2tpeth macsec macvlan macvtap netkit nlmon \
            ovpn pfcp ppp sit team tun vcan veth vlan vrf vti vti6 vxcan vxlan wireguard xfrm";
        for name in kinds.split_whitespace() {
            let info = nested(&[(IFLA_INFO_KIND, format!("{name}\0").as_bytes())]);
            assert_eq!(kind(&info).unwrap().unwrap().to_string(), name);
        }
    }

    #[test]
    fn a_request_has_the_name_and_omits_counters() {
        let request = Link::request(Some("eth0.7"));
        let mut bytes = vec![0; request.buffer_len()];
        request.emit(&mut bytes);
        let expected = nested(&[(IFLA_IFNAME, b"eth0.7\0"), (libc::IFLA_EXT_MASK, &8_u32.to_ne_bytes())]);
        assert_eq!(bytes, [vec![0; 16], expected].concat());
        assert_eq!(request.message_type(), libc::RTM_GETLINK);
    }
}
