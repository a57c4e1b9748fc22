//! Rule file of one database.

mod endpoints;
mod file;
mod sources;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;
use jiff::Timestamp;

pub(super) use file::FILE;
pub use file::read_database;

use super::{DatabaseId, RangeId, RuleId};

/// Content of a rule file, every value validated, no CIDR with host bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseRules {
    pub id: DatabaseId,
    pub name: Option<String>,
    /// From 1, strictly increasing per database.
    pub revision: u64,
    pub generated_at: Timestamp,
    pub state: State,
    /// The only host that may apply the file, if it names one.
    pub host: Option<String>,
    pub mode: Mode,
    /// At least one if active; no two claim the same (address, port, protocol).
    pub endpoints: Vec<Endpoint>,
    /// In file order; ids are unique.
    pub rules: Vec<Rule>,
    pub internal_ranges: Vec<InternalRange>,
}

impl DatabaseRules {
    /// The managed ranges that the rules name.
    pub fn ranges(&self) -> impl Iterator<Item = &RangeId> {
        self.rules.iter().filter_map(|rule| match &rule.source {
            Source::Managed(range) => Some(range),
            Source::Custom(_) => None,
        })
    }
}

/// Presence of a database on this host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Its endpoints are open to the sources that its rules allow.
    #[default]
    Active,
    /// The database leaves this host; its endpoints are closed.
    Removed,
}

/// Handling of packets from sources that no rule allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Counted and dropped.
    #[default]
    Enforce,
    /// Counted and passed.
    Monitor,
}

/// Transport protocol of an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

/// Destination that a database claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The file's `type`: free text for people.
    pub kind: Option<String>,
    /// `None` is every destination address of the host, both families.
    pub address: Option<IpAddr>,
    /// Host byte order.
    pub port: NonZeroU16,
    pub protocol: Protocol,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub id: RuleId,
    pub source: Source,
    pub label: Option<String>,
    /// In force before this time.
    pub expires_at: Option<Timestamp>,
}

/// Sources that a rule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// No host bits.
    Custom(IpNet),
    Managed(RangeId),
}

/// Sources that are allowed and not counted among the customer's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalRange {
    /// No host bits.
    pub cidr: IpNet,
    pub label: Option<String>,
}

/// Limits from the configuration of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most rules of one database.
    pub max_rules: usize,
    /// Admits `mode: monitor`.
    pub allow_monitor: bool,
    /// A file with another `host` is refused; `None` if the host was checked before.
    pub node_name: Option<String>,
}

impl Endpoint {
    /// Returns `true` if some packet matches both: an endpoint without address covers every address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let one_address = match (self.address, other.address) {
            (Some(a), Some(b)) => a == b,
            (None, _) | (_, None) => true,
        };
        one_address && self.port == other.port && self.protocol == other.protocol
    }
}

/// Formats as `192.0.2.10:30092/tcp`, `[2001:db8::1]:30092/tcp`, `*:30092/tcp`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None => write!(f, "*")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        write!(f, ":{}/{}", self.port, self.protocol)
    }
}

/// Formats as the CIDR, or the id of the range.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custom(cidr) => write!(f, "{cidr}"),
            Self::Managed(range) => write!(f, "{range}"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Removed => "removed",
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Enforce => "enforce",
            Self::Monitor => "monitor",
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
