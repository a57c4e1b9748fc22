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
}

impl Kind {
    pub(super) const ALL: [Self; 10] = [
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
