//! Reasons for a verdict: their counter numbers and names.

/// Reason for a packet's verdict. The number is the index of the reason's counter, and part of the map layout: append
/// new reasons at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Reason {
    /// Neither IPv4 nor IPv6.
    NotIp = 0,
    /// More than four VLAN tags.
    VlanDepth = 1,
    /// The Ethernet or IP header is broken or cut short; or the TCP or UDP header is cut short, at an address with an
    /// endpoint, a tombstone or a guarded port.
    Malformed = 2,
    /// No endpoint, tombstone or guarded port at the destination.
    NotProtected = 3,
    /// The source is in the database's allow list.
    Allowed = 4,
    /// The source is not in the database's allow list.
    NoMatch = 5,
    /// The source is not in the allow list, but the database is in monitor mode.
    WouldDeny = 6,
    /// A tombstone, or a guarded port that no rule file claims.
    Closed = 7,
    /// The port cannot be known, and something at the address is not open to this source.
    NoPort = 8,
    /// A later fragment from a source that no database at the address allows.
    Fragment = 9,
    /// The source is in a block list, of every endpoint or of the database.
    Blocked = 10,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::NotIp,
        Self::VlanDepth,
        Self::Malformed,
        Self::NotProtected,
        Self::Allowed,
        Self::NoMatch,
        Self::WouldDeny,
        Self::Closed,
        Self::NoPort,
        Self::Fragment,
        Self::Blocked,
    ];

    /// Number of counters in the kernel. More than there are reasons: a new reason leaves the shape of their map as it
    /// is, so that an agent of another layout continues them.
    pub const COUNTERS: usize = 32;

    /// The reason with the next number: a new reason needs its row here, and so in [`Reason::ALL`].
    const fn next(self) -> Option<Self> {
        match self {
            Self::NotIp => Some(Self::VlanDepth),
            Self::VlanDepth => Some(Self::Malformed),
            Self::Malformed => Some(Self::NotProtected),
            Self::NotProtected => Some(Self::Allowed),
            Self::Allowed => Some(Self::NoMatch),
            Self::NoMatch => Some(Self::WouldDeny),
            Self::WouldDeny => Some(Self::Closed),
            Self::Closed => Some(Self::NoPort),
            Self::NoPort => Some(Self::Fragment),
            Self::Fragment => Some(Self::Blocked),
            Self::Blocked => None,
        }
    }

    /// The name in counters, commands and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIp => "not_ip",
            Self::VlanDepth => "vlan_depth",
            Self::Malformed => "malformed",
            Self::NotProtected => "not_protected",
            Self::Allowed => "allowed",
            Self::NoMatch => "no_match",
            Self::WouldDeny => "would_deny",
            Self::Closed => "closed",
            Self::NoPort => "no_port",
            Self::Fragment => "fragment",
            Self::Blocked => "blocked",
        }
    }

    /// Returns whether a packet with this reason passes to the host's network stack.
    #[must_use]
    pub const fn passes(self) -> bool {
        match self {
            Self::NotIp | Self::NotProtected | Self::Allowed | Self::WouldDeny => true,
            Self::VlanDepth
            | Self::Malformed
            | Self::NoMatch
            | Self::Closed
            | Self::NoPort
            | Self::Fragment
            | Self::Blocked => false,
        }
    }

    /// Returns whether a rule for the source, in the database of the destination, would have allowed the packet.
    #[must_use]
    pub const fn lacks_rule(self) -> bool {
        match self {
            Self::NoMatch | Self::WouldDeny | Self::Fragment => true,
            Self::NotIp
            | Self::VlanDepth
            | Self::Malformed
            | Self::NotProtected
            | Self::Allowed
            | Self::Closed
            | Self::NoPort
            | Self::Blocked => false,
        }
    }

    /// The probe program's return value for this reason and the rule counter that decided ([`crate::NO_RULE`] when none
    /// did): the reason in the upper 8 bits, the rule counter in the lower 24.
    #[must_use]
    pub const fn answer(self, rule: u32) -> u32 {
        (self as u32) << 24 | rule & 0x00ff_ffff
    }

    /// Decodes the probe program's return value; `None` when the reason has no name in this version.
    #[must_use]
    pub fn from_answer(answer: u32) -> Option<(Self, u32)> {
        Self::ALL.get((answer >> 24) as usize).map(|reason| (*reason, answer & 0x00ff_ffff))
    }
}

const _: () = {
    assert!(Reason::ALL.len() <= Reason::COUNTERS);
    let (mut at, mut reason) = (0, Some(Reason::NotIp));
    while let Some(one) = reason {
        assert!(one as usize == at && Reason::ALL[at] as usize == at);
        (at, reason) = (at + 1, one.next());
    }
    assert!(at == Reason::ALL.len());
};
