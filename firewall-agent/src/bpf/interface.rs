//! What the kernel says about XDP on an interface, by rtnetlink; `bpf_link` does not say its mode.

#![expect(clippy::wildcard_enum_match_arm, reason = "netlink's attributes are many, and grow")]

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkLayerType, LinkMessage, LinkXdp, XdpAttached},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// In which mode a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    Native,
    Generic,
    /// On the network card, or several at once: nothing that this agent does.
    Other,
}

impl Attached {
    /// The name in commands.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Other => "other",
        }
    }
}

/// XDP on one interface of the current network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XdpState {
    /// Interface index.
    pub index: u32,
    /// Whether its frames start with an Ethernet header, as the program takes for granted.
    pub ethernet: bool,
    /// The mode and the id of the attached program.
    pub program: Option<(Attached, u32)>,
}

/// Asks for an interface; `None` when there is none of this name.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn xdp_state(interface: &str) -> Result<Option<XdpState>> {
    // The kernel refuses to look for a longer name.
    if interface.len() >= libc::IFNAMSIZ {
        return Ok(None);
    }
    let ask = || -> Result<Option<XdpState>> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.send(&request(interface), 0)?;
        let (answer, _) = socket.recv_from_full()?;
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(Some(state(&link))),
            NetlinkPayload::Error(error) if error.raw_code() == -libc::ENODEV => Ok(None),
            NetlinkPayload::Error(error) => bail!(error.to_io()),
            NetlinkPayload::InnerMessage(other) => bail!("unexpected answer {other:?}"),
            _ => bail!("no answer"),
        }
    };
    ask().with_context(|| format!("interface {interface}: cannot be looked at"))
}

fn request(interface: &str) -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(interface.to_owned()));
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetLink(link));
    message.header.flags = NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn state(link: &LinkMessage) -> XdpState {
    let xdp = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp.as_slice()),
        _ => None,
    });
    let (mut mode, mut id) = (None, None);
    for attribute in xdp.unwrap_or_default() {
        match attribute {
            LinkXdp::Attached(XdpAttached::None) => mode = None,
            LinkXdp::Attached(XdpAttached::Driver) => mode = Some(Attached::Native),
            LinkXdp::Attached(XdpAttached::SocketBuffer) => mode = Some(Attached::Generic),
            LinkXdp::Attached(_) => mode = Some(Attached::Other),
            LinkXdp::ProgId(program) => id = Some(*program),
            _ => {}
        }
    }
    let ethernet = matches!(link.header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback);
    XdpState { index: link.header.index, ethernet, program: mode.zip(id) }
}
