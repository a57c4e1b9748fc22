//! Facts about the host, as input of the audit.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde::Serialize;

use super::{Protected, Routes, Rule, Unwrapping};
use crate::rules::Protocol;

/// All facts, each read or failed by itself.
#[derive(Debug, Clone)]
pub struct Facts {
    pub protected: Protected,
    pub interfaces: Gathered<Vec<Interface>>,
    pub listeners: Gathered<Vec<Listener>>,
    /// One result for each source of rules: nftables, iptables, tc.
    pub rules: Vec<Gathered<Vec<Rule>>>,
    pub routes: Gathered<Routes>,
    /// Policies and states of IPsec for incoming packets.
    pub ipsec: Gathered<Vec<Unwrapping>>,
    pub ephemeral: Gathered<Ephemeral>,
    pub settings: Gathered<Vec<Setting>>,
}

/// A fact, or the reason why it could not be read.
pub type Gathered<T> = Result<T, Unchecked>;

/// Fact that could not be read. Field names are an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unchecked {
    pub fact: String,
    pub reason: String,
}

/// Interface of the agent's network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    /// Name of the type in `ip link add … type`; `None` for hardware.
    pub kind: Option<String>,
    pub up: bool,
    pub loopback: bool,
    /// Index of the bridge, bond or VRF of which it is a member.
    pub controller: Option<u32>,
    /// Index of the lower interface of a VLAN, macvlan or ipvlan, when that is in the same namespace: a program there
    /// judges every packet.
    pub judged_on: Option<u32>,
    pub addresses: Vec<IpAddr>,
    /// IPv4 broadcast addresses of its networks.
    pub broadcasts: Vec<IpAddr>,
    /// Receives multicast packets.
    pub multicast: bool,
    /// True if our link runs its program there.
    pub filtered: bool,
    /// True if that program runs in generic mode.
    pub generic: bool,
    /// The driver can run XDP programs now; `None` if the kernel (before Linux 6.3) does not tell.
    pub native: Option<bool>,
}

/// Socket that accepts connections or datagrams from any peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Unspecified: every address; if IPv6, IPv4 addresses too.
    pub address: IpAddr,
    /// Host byte order.
    pub port: u16,
    pub protocol: Protocol,
}

impl Listener {
    /// Returns `true` if packets to this local address reach the listener.
    pub(super) fn is_bound_to(&self, address: IpAddr) -> bool {
        let own = self.address;
        own == address || own.is_unspecified() && (own.is_ipv6() || address.is_ipv4())
    }
}

/// Ports that the host uses for its own connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ephemeral {
    pub range: RangeInclusive<u16>,
    /// Excluded from the range.
    pub reserved: Vec<RangeInclusive<u16>>,
}

/// Setting below `/proc/sys/net` that admits packets which the programs misjudge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub name: SettingName,
    /// `all`, or the name of an interface.
    pub interface: String,
    pub value: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingName {
    SourceRouteV4,
    SourceRouteV6,
    Seg6,
    Rpl,
    RouteLocalnet,
}

impl SettingName {
    pub const ALL: [Self; 5] =
        [Self::SourceRouteV4, Self::SourceRouteV6, Self::Seg6, Self::Rpl, Self::RouteLocalnet];

    /// `ipv4` or `ipv6`, and the last part of the setting's name.
    #[must_use]
    pub fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::SourceRouteV4 => ("ipv4", "accept_source_route"),
            Self::SourceRouteV6 => ("ipv6", "accept_source_route"),
            Self::Seg6 => ("ipv6", "seg6_enabled"),
            Self::Rpl => ("ipv6", "rpl_seg_enabled"),
            Self::RouteLocalnet => ("ipv4", "route_localnet"),
        }
    }

    /// Name as sysctl expects it.
    #[must_use]
    pub fn of(self, interface: &str) -> String {
        let (family, name) = self.parts();
        // sysctl swaps `.` and `/` when the interface name contains a dot.
        if interface.contains('.') {
            format!("net/{family}/conf/{interface}/{name}")
        } else {
            format!("net.{family}.conf.{interface}.{name}")
        }
    }
}
