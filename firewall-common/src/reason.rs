//! Why a packet passes or is dropped: the numbers that the program counts under, and their names.

/// Why a packet got its verdict. The number is the index of the reason's counter, and part of the map layout: a new
/// reason goes to the end.
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
    /// The destination is no endpoint, no tombstone and not guarded.
    NotProtected = 3,
    /// The source is in the database's allow list.
    Allowed = 4,
    /// The source is not in the database's allow list.
    NoMatch = 5,
    /// Not in the allow list either, but the database is in monitor mode.
    WouldDeny = 6,
    /// A tombstone, or a guarded port that no file claims.
    Closed = 7,
    /// The port cannot be known, and something at the address is not open to this source.
    NoPort = 8,
    /// A later fragment whose source no database at the address allows.
    Fragment = 9,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 10] = [
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
    ];

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
        }
    }

    /// Whether a packet with this reason goes on to the host's stack.
    #[must_use]
    pub const fn passes(self) -> bool {
        match self {
            Self::NotIp | Self::NotProtected | Self::Allowed | Self::WouldDeny => true,
            Self::VlanDepth
            | Self::Malformed
            | Self::NoMatch
            | Self::Closed
            | Self::NoPort
            | Self::Fragment => false,
        }
    }

    /// What the twin program returns for this reason and the rule that decided ([`crate::NO_RULE`] when none did):
    /// the reason in the upper 8 bits, the rule slot in the lower 24.
    #[must_use]
    pub const fn answer(self, rule: u32) -> u32 {
        (self as u32) << 24 | rule & 0x00ff_ffff
    }

    /// Takes an answer of the twin apart; `None` when its reason has no name in this version.
    #[must_use]
    pub fn from_answer(answer: u32) -> Option<(Self, u32)> {
        Self::ALL.get((answer >> 24) as usize).map(|reason| (*reason, answer & 0x00ff_ffff))
    }
}

const _: () = {
    let mut at = 0;
    while at < Reason::ALL.len() {
        assert!(Reason::ALL[at] as usize == at);
        at += 1;
    }
};
