//! Packet destinations.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::rules::Protocol;

/// Address (or any), port and protocol. Wildcards sort first, then addresses.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(test), derive(PartialEq, Eq, PartialOrd, Ord, Hash))]
pub struct Destination {
    /// `None`: every destination address of both families.
    pub address: Option<IpAddr>,
    /// Host byte order.
    pub port: u16,
    pub protocol: Protocol,
}

impl Destination {
    /// The same port and protocol at every address.
    #[must_use]
    pub fn everywhere(self) -> Self {
        Self { address: None, ..self }
    }

    /// Returns `true` if some packet matches both destinations.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.everywhere() == other.everywhere()
            && (self.address == other.address || self.address.is_none() || other.address.is_none())
    }

    /// Returns `true` if every packet that matches `other` matches this destination.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.overlaps(other) && (self.address.is_none() || self.address == other.address)
    }
}

/// `192.0.2.10:30092/tcp`, `[2001:db8::1]:30092/tcp`, `*:30092/tcp`.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        match self.address {
            None => write!(f, "*:{}/{protocol}", self.port),
            Some(IpAddr::V4(address)) => write!(f, "{address}:{}/{protocol}", self.port),
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:{}/{protocol}", self.port),
        }
    }
}

/// Parses [`Destination`]'s `Display` format; the protocol defaults to TCP.
impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (socket, protocol) = match text.rsplit_once('/') {
            None => (text, Some(Protocol::Tcp)),
            Some((socket, "tcp")) => (socket, Some(Protocol::Tcp)),
            Some((socket, "udp")) => (socket, Some(Protocol::Udp)),
            Some((socket, _)) => (socket, None),
        };
        let socket = match socket.strip_prefix("*:") {
            Some(port) => port.parse().ok().map(|port: u16| (None, port)),
            None => socket.parse().ok().map(|socket: SocketAddr| (Some(socket.ip()), socket.port())),
        };
        match (socket, protocol) {
            (Some((address, port @ 1..)), Some(protocol)) => Ok(Self { address, port, protocol }),
            _ => Err(format!("{text:?}: not ADDRESS:PORT[/tcp|/udp]")),
        }
    }
}
