//! What is known of the host.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde::Serialize;

use super::{Protected, Translation};
use crate::rules::Protocol;

/// Everything that is looked at, each part seen or not.
#[derive(Debug, Clone)]
pub struct Facts {
    pub protected: Protected,
    pub interfaces: Look<Vec<Interface>>,
    pub listeners: Look<Vec<Listener>>,
    /// One look for each place that holds such rules.
    pub translations: Vec<Look<Vec<Translation>>>,
    pub ephemeral: Look<Ephemeral>,
    pub settings: Look<Vec<Setting>>,
}

/// What was seen, or why it could not be looked at.
pub type Look<T> = Result<T, Unlooked>;

/// Something that could not be looked at. Field names are an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unlooked {
    pub what: String,
    pub why: String,
}

/// An interface of the agent's network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    /// As `ip link add … type` takes it; `None` for hardware.
    pub kind: Option<String>,
    pub up: bool,
    pub loopback: bool,
    /// Index of the bridge, bond or VRF that it is a member of.
    pub controller: Option<u32>,
    /// Index of the interface below it (a VLAN's), when that is in the same namespace.
    pub lower: Option<u32>,
    pub addresses: Vec<IpAddr>,
    /// Whether our link runs its program there.
    pub filtered: bool,
}

/// A socket that takes connections or datagrams from anyone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Unspecified: every address; of IPv6, IPv4 addresses too.
    pub address: IpAddr,
    /// Host byte order.
    pub port: u16,
    pub protocol: Protocol,
}

/// Ports that the host takes for its own connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ephemeral {
    pub range: RangeInclusive<u16>,
    /// Left out of the range.
    pub reserved: Vec<RangeInclusive<u16>>,
}

/// A setting below `/proc/sys/net` that admits packets which the programs take for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub name: SettingName,
    /// `all`, or an interface.
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

    /// As sysctl names it.
    #[must_use]
    pub fn of(self, interface: &str) -> String {
        let (family, name) = self.parts();
        // sysctl wants its separators the other way round where the name has a dot.
        if interface.contains('.') {
            format!("net/{family}/conf/{interface}/{name}")
        } else {
            format!("net.{family}.conf.{interface}.{name}")
        }
    }
}
