//! veth pairs between hosts.

use anyhow::Result;

use super::{Host, Lab};

/// One end of a veth pair: an interface of a host, with addresses like `192.0.2.10/24`.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    host: &'a Host,
    interface: &'a str,
    addresses: &'a [&'a str],
}

impl Host {
    pub fn end<'a>(&'a self, interface: &'a str, addresses: &'a [&'a str]) -> End<'a> {
        End { host: self, interface, addresses }
    }
}

impl Lab {
    /// Joins two hosts by a veth pair; both ends are up and their addresses usable.
    pub fn link(&self, one: End<'_>, other: End<'_>) -> Result<()> {
        let (here, there, peer) = (one.interface, other.interface, other.host.name());
        one.host.run(&format!("ip link add {here} type veth peer name {there} netns {peer}"))?;
        for end in [one, other] {
            end.host.run(&format!("ip link set {} up", end.interface))?;
        }
        for end in [one, other] {
            for address in end.addresses {
                // Usable at once: the address is unique on the link.
                let nodad = if address.contains(':') { "nodad" } else { "" };
                end.host.run(&format!("ip address add {address} dev {} {nodad}", end.interface))?;
            }
        }
        Ok(())
    }
}
