//! XDP on the interfaces of a network namespace, by rtnetlink: a `bpf_link` does not expose its mode.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::request::{Attributes, Message, ask, attribute, dump};

/// Length of `struct ifinfomsg` in bytes, the start of every message about an interface.
const IFINFOMSG: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
/// Omits the traffic counters from a list.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;

const XDP_ATTACHED_NONE: u8 = 0;
const XDP_ATTACHED_DRV: u8 = 1;
const XDP_ATTACHED_SKB: u8 = 2;

/// Mode in which a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    Native,
    Generic,
    /// Offloaded to the network card, or several at once; never attached by this agent.
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
    /// Frames start with an Ethernet header, as the program assumes.
    pub ethernet: bool,
    /// The mode and the id of the attached program.
    pub program: Option<(Attached, u32)>,
}

impl XdpState {
    /// The mode in which this program runs; `None` when another or none runs.
    pub(crate) fn mode_of(self, program: u32) -> Option<Attached> {
        self.program.filter(|(_, running)| *running == program).map(|(mode, _)| mode)
    }
}

/// Every interface of the current network namespace, from one dump.
#[derive(Debug, Default)]
pub struct InterfaceTable {
    by_name: BTreeMap<String, XdpState>,
    names: BTreeMap<u32, String>,
}

impl InterfaceTable {
    /// Requests all interfaces in one dump.
    ///
    /// # Errors
    /// When the request fails, or the reply is malformed.
    pub fn list() -> Result<Self> {
        let list = || -> Result<Self> {
            let mut table = Self::default();
            for message in dump(NETLINK_ROUTE, &question(None))? {
                let (name, state) = read(&message)?;
                table.names.insert(state.index, name.clone());
                table.by_name.insert(name, state);
            }
            Ok(table)
        };
        list().context("cannot list interfaces")
    }

    /// The interface of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<XdpState> {
        self.by_name.get(name).copied()
    }

    /// Names and states, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, XdpState)> {
        self.by_name.iter().map(|(name, state)| (name.as_str(), *state))
    }

    /// The name of the interface with this index.
    pub(crate) fn name(&self, index: u32) -> Option<&str> {
        self.names.get(&index).map(String::as_str)
    }
}

/// Requests one interface; `None` when no interface has this name.
///
/// # Errors
/// When the request fails, or the reply is malformed.
pub fn xdp_state(interface: &str) -> Result<Option<XdpState>> {
    // The kernel rejects longer names.
    if interface.len() >= libc::IFNAMSIZ {
        return Ok(None);
    }
    let state = || -> Result<Option<XdpState>> {
        let answer = ask(NETLINK_ROUTE, &question(Some(interface)), libc::ENODEV)?;
        answer.map(|message| Ok(read(&message)?.1)).transpose()
    };
    state().with_context(|| format!("cannot query interface {interface}"))
}

/// Request for one interface, or for all.
fn question(interface: Option<&str>) -> Message {
    let mut body = vec![0; IFINFOMSG];
    if let Some(name) = interface {
        body.extend(attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat()));
    }
    body.extend(attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes()));
    Message { kind: libc::RTM_GETLINK, body }
}

/// Name and state of the interface in a message.
fn read(message: &Message) -> Result<(String, XdpState)> {
    let (head, rest) = message.body.split_first_chunk::<IFINFOMSG>().context("short answer")?;
    let attributes = Attributes::new(rest);
    let xdp = attributes.inside(IFLA_XDP)?;
    let mode = match xdp.get(IFLA_XDP_ATTACHED)?.and_then(|bytes| bytes.first()).copied() {
        None | Some(XDP_ATTACHED_NONE) => None,
        Some(XDP_ATTACHED_DRV) => Some(Attached::Native),
        Some(XDP_ATTACHED_SKB) => Some(Attached::Generic),
        Some(_) => Some(Attached::Other),
    };
    let state = XdpState {
        index: u32::from_ne_bytes([head[4], head[5], head[6], head[7]]),
        ethernet: [ARPHRD_ETHER, ARPHRD_LOOPBACK].contains(&u16::from_ne_bytes([head[2], head[3]])),
        program: mode.zip(xdp.number(IFLA_XDP_PROG_ID)?),
    };
    Ok((attributes.text(IFLA_IFNAME)?.context("an interface without a name")?, state))
}
