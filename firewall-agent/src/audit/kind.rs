//! Kinds of bypasses, and their names.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Cause of a bypass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Processes of this host.
    Loopback,
    /// Containers and virtual machines, by a bridge, a veth and similar interfaces.
    Container,
    /// An interface without our link.
    Interface,
    /// A tunnel that ends here: the programs see only its outer packets.
    Tunnel,
    /// A listener at an address that no endpoint names.
    UnclaimedAddress,
    /// A destination that is rewritten after the programs have judged the packet.
    Dnat,
    /// A protected port within the host's ephemeral range.
    Ephemeral,
    SourceRouting,
    SegmentRouting,
    /// Packets from outside to 127.0.0.0/8.
    RouteLocalnet,
    /// Policies and states of IPsec without an interface.
    Ipsec,
    /// An MPLS path that ends here.
    Mpls,
    /// A route of type `local` for addresses that the host does not have.
    LocalRoute,
    /// A UDP socket that receives packets to broadcast and multicast addresses.
    Broadcast,
    /// A destination that is written into each packet after the programs have judged it.
    Rewrite,
    /// Packets that are moved from an unfiltered interface to another.
    Redirect,
    /// Generic mode on a veth, whose peer can mark packets as redirected.
    GenericMode,
    /// Source ports of translated connections within protected ports.
    Masquerade,
    /// An unconnected UDP socket at a guarded port that nothing claims.
    Resolver,
}

impl Kind {
    pub(super) const ALL: [Self; 19] = [
        Self::Loopback,
        Self::Container,
        Self::Interface,
        Self::Tunnel,
        Self::UnclaimedAddress,
        Self::Dnat,
        Self::Ephemeral,
        Self::SourceRouting,
        Self::SegmentRouting,
        Self::RouteLocalnet,
        Self::Ipsec,
        Self::Mpls,
        Self::LocalRoute,
        Self::Broadcast,
        Self::Rewrite,
        Self::Redirect,
        Self::GenericMode,
        Self::Masquerade,
        Self::Resolver,
    ];

    /// Name in commands, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Container => "container",
            Self::Interface => "interface",
            Self::Tunnel => "tunnel",
            Self::UnclaimedAddress => "unclaimed_address",
            Self::Dnat => "dnat",
            Self::Ephemeral => "ephemeral",
            Self::SourceRouting => "source_routing",
            Self::SegmentRouting => "segment_routing",
            Self::RouteLocalnet => "route_localnet",
            Self::Ipsec => "ipsec",
            Self::Mpls => "mpls",
            Self::LocalRoute => "local_route",
            Self::Broadcast => "broadcast",
            Self::Rewrite => "rewrite",
            Self::Redirect => "redirect",
            Self::GenericMode => "generic_mode",
            Self::Masquerade => "masquerade",
            Self::Resolver => "resolver",
        }
    }

    /// Returns `true` if the socket filter, in force, judges the packets of such a finding. It leaves the loopback alone
    /// unless configured, and judges no address that no endpoint names, except at guarded ports. Findings of allowed
    /// packets that are dropped have no packet for it.
    pub(super) fn is_covered_by_socket_filter(self) -> bool {
        match self {
            Self::Container
            | Self::Interface
            | Self::Tunnel
            | Self::Dnat
            | Self::SourceRouting
            | Self::SegmentRouting
            | Self::Ipsec
            | Self::Mpls
            | Self::Rewrite
            | Self::Redirect
            | Self::GenericMode => true,
            Self::Loopback
            | Self::UnclaimedAddress
            | Self::Ephemeral
            | Self::RouteLocalnet
            | Self::LocalRoute
            | Self::Broadcast
            | Self::Masquerade
            | Self::Resolver => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("must be one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}
