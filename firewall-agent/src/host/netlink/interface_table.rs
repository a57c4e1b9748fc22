//! XDP on the interfaces of a network namespace, by rtnetlink: a `bpf_link` does not expose its mode.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use netlink_packet_route::link::{LinkLayerType, XdpAttached};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::link::Link;
use super::request::{dump, get};

/// Mode in which a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    Native,
    Generic,
    /// Offloaded to the network card, or several at once; never attached by this agent.
    Other,
}

impl From<XdpAttached> for Attached {
    fn from(mode: XdpAttached) -> Self {
        match mode {
            XdpAttached::Driver => Self::Native,
            XdpAttached::SocketBuffer => Self::Generic,
            XdpAttached::None | XdpAttached::Hardware | XdpAttached::Multiple | XdpAttached::Other(_) | _ => {
                Self::Other
            }
        }
    }
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

impl From<&Link> for XdpState {
    fn from(link: &Link) -> Self {
        Self {
            index: link.header.index,
            ethernet: matches!(link.header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback),
            program: link.program.map(|(mode, id)| (Attached::from(mode), id)),
        }
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
            for message in dump(NETLINK_ROUTE, Link::request(None))? {
                let link = Link::parse(&message.body)?;
                table.names.insert(link.header.index, link.name.clone());
                table.by_name.insert(link.name.clone(), XdpState::from(&link));
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
        let answer = get(NETLINK_ROUTE, Link::request(Some(interface)), libc::ENODEV)?;
        answer.map(|message| Ok(XdpState::from(&Link::parse(&message.body)?))).transpose()
    };
    state().with_context(|| format!("cannot query interface {interface}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_interfaces_are_listed_and_found() {
        let table = InterfaceTable::list().unwrap();
        let lo = table.get("lo").unwrap();
        assert!(lo.ethernet && table.name(lo.index) == Some("lo"), "{lo:?}");
        assert_eq!(xdp_state("lo").unwrap(), Some(lo));
        for absent in ["no-such-if", "a-name-of-16-byte", ""] {
            assert_eq!(xdp_state(absent).unwrap_or(None), None, "{absent}");
        }
    }
}
