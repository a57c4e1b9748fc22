//! XDP on the interfaces of a network namespace, by rtnetlink: a `bpf_link` does not expose its mode.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use netlink_packet_route::link::{InfoKind, LinkFlags, LinkLayerType, XdpAttached};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::link::Link;
use super::request::{dump, get};
use crate::host::stacked::downwards;

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
    pub loopback: bool,
    /// Index of the interface on which a program judges every packet of this one: the lower interface of a VLAN, macvlan
    /// or ipvlan, the bond of a member. `None` without one, or if that is in another network namespace.
    pub judged_on: Option<u32>,
    /// Largest packet that GRO makes of received ones, in bytes; 0 if the kernel does not state it.
    pub gro_max_size: u32,
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
            loopback: link.header.flags.contains(LinkFlags::Loopback),
            judged_on: link.judged_on(),
            gro_max_size: link.gro_max_size,
        }
    }
}

/// Every interface of the current network namespace, from one dump.
#[derive(Debug, Default)]
pub struct InterfaceTable {
    by_name: BTreeMap<String, XdpState>,
    names: BTreeMap<u32, String>,
    /// Members by the index of their bridge, bond or similar.
    members: BTreeMap<u32, Vec<u32>>,
    /// Alternative names, of the interfaces that have any.
    alternatives: BTreeMap<String, Vec<String>>,
}

impl InterfaceTable {
    /// Requests all interfaces in one dump.
    ///
    /// # Errors
    /// When the request fails, or the reply is malformed.
    pub fn list() -> Result<Self> {
        let list = || -> Result<Self> {
            let links = dump(NETLINK_ROUTE, Link::request(None))?;
            let links: Result<Vec<Link>> = links.iter().map(|message| Link::parse(&message.body)).collect();
            Ok(Self::new(links?))
        };
        list().context("cannot list interfaces")
    }

    fn new(links: Vec<Link>) -> Self {
        let bonds: BTreeSet<u32> = links
            .iter()
            .filter(|link| link.kind == Some(InfoKind::Bond))
            .map(|link| link.header.index)
            .collect();
        let mut table = Self::default();
        for link in links {
            let mut state = XdpState::from(&link);
            state.judged_on = state.judged_on.or(link.controller.filter(|index| bonds.contains(index)));
            if let Some(controller) = link.controller {
                table.members.entry(controller).or_default().push(state.index);
            }
            table.names.insert(state.index, link.name.clone());
            table.by_name.insert(link.name.clone(), state);
            if !link.alternatives.is_empty() {
                table.alternatives.insert(link.name, link.alternatives);
            }
        }
        table
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

    /// Returns `true` if an XDP program on an interface that `is_ours` accepts sees every packet of the interface with this
    /// index: there, on a lower one, or on all its members. The loopback has none.
    #[must_use]
    pub fn is_judged(&self, index: u32, is_ours: impl Fn(&str) -> bool) -> bool {
        let state = |index: u32| self.get(self.name(index)?);
        let runs = |index: u32| {
            let name = self.name(index).filter(|name| is_ours(name));
            name.and_then(|name| self.get(name))
                .is_some_and(|state| state.program.is_some() && !state.loopback)
        };
        let judged = |index: &u32| {
            runs(*index)
                || self.members.get(index).is_some_and(|members| members.iter().all(|member| runs(*member)))
        };
        let below = |index: &u32| state(*index)?.judged_on;
        downwards(Some(index), below).any(|index| judged(&index))
    }

    /// The other names of an interface.
    pub(crate) fn alternatives(&self, name: &str) -> &[String] {
        self.alternatives.get(name).map(Vec::as_slice).unwrap_or_default()
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
    use netlink_packet_core::{DefaultNla, Emitable as _, NlaBuffer, Parseable as _};

    use super::*;

    #[test]
    fn interface_on_which_a_packet_is_judged_first_is_known() {
        let link = |index, name: &str, kind: &str, lower: Option<u32>, controller: Option<u32>| {
            let mut link = Link { name: name.to_owned(), lower, controller, ..Link::default() };
            link.header.index = index;
            let mut bytes = kind.as_bytes().to_vec();
            bytes.push(0);
            let kinds = DefaultNla::new(libc::IFLA_INFO_KIND, bytes);
            let mut buffer = vec![0; kinds.buffer_len()];
            kinds.emit(&mut buffer);
            link.kind = (!kind.is_empty())
                .then(|| InfoKind::parse(&NlaBuffer::new_checked(buffer.as_slice()).unwrap()).unwrap());
            link
        };
        let table = InterfaceTable::new(vec![
            link(2, "eth0", "", None, Some(4)),
            link(3, "eth1", "", None, Some(5)),
            link(4, "bond0", "bond", None, None),
            link(5, "br0", "bridge", None, None),
            link(6, "bond0.7", "vlan", Some(4), Some(5)),
            link(7, "mv0", "macvlan", Some(3), None),
            link(8, "mv1", "macvlan", None, None),
            link(9, "iv0", "ipvlan", Some(2), None),
            // The lower interface of a veth is its peer.
            link(10, "pod0", "veth", Some(11), None),
            link(12, "vx0", "vxlan", Some(2), None),
        ]);
        let judged_on = |name: &str| table.get(name).unwrap().judged_on;
        for (name, expected) in [
            ("eth0", Some(4)),
            ("eth1", None),
            ("bond0", None),
            ("br0", None),
            ("bond0.7", Some(4)),
            ("mv0", Some(3)),
            ("mv1", None),
            ("iv0", Some(2)),
            ("pod0", None),
            ("vx0", None),
        ] {
            assert_eq!(judged_on(name), expected, "{name}");
        }
    }

    #[test]
    fn interface_is_judged_there_below_or_on_all_members() {
        let link = |index, name: &str, lower: Option<u32>, controller: Option<u32>| {
            let program = Some((XdpAttached::Driver, 7));
            let mut link = Link { name: name.to_owned(), lower, controller, program, ..Link::default() };
            link.header.index = index;
            link
        };
        let mut table = InterfaceTable::new(vec![
            link(1, "lo", None, None),
            link(2, "eth0", None, Some(4)),
            link(3, "eth1", None, Some(4)),
            link(4, "br0", None, None),
            link(5, "br0.7", None, None),
            link(6, "wg0", None, None),
        ]);
        table.by_name.get_mut("lo").unwrap().loopback = true;
        table.by_name.get_mut("br0.7").unwrap().judged_on = Some(4);
        let judged = |table: &InterfaceTable, ours: &[&str]| {
            (1..=7).filter(|index| table.is_judged(*index, |name| ours.contains(&name))).collect::<Vec<_>>()
        };
        assert_eq!(judged(&table, &["lo", "eth0"]), [2]);
        assert_eq!(judged(&table, &["eth0", "eth1"]), [2, 3, 4, 5]);
        assert_eq!(judged(&table, &["br0"]), [4, 5]);
        table.by_name.get_mut("eth1").unwrap().program = None;
        assert_eq!(judged(&table, &["eth0", "eth1"]), [2], "the control: another process detached it");
    }

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
