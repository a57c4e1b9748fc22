//! Wires between hosts: veth pairs, and network cards of the machine.

use std::time::Duration;

use anyhow::Result;

use super::{Host, Lab, eventually};

/// Bound for the return of a card from the previous lab.
const RETURNED: Duration = Duration::from_secs(20);

/// One end of a wire: an interface of a host, with addresses like `192.0.2.10/24`.
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
        self.bring_up([one, other])
    }

    /// Brings the two ends of a wire up; their addresses are then usable.
    pub fn bring_up(&self, ends: [End<'_>; 2]) -> Result<()> {
        for end in ends {
            end.host.run(&format!("ip link set {} up", end.interface))?;
        }
        for end in ends {
            for address in end.addresses {
                // Usable at once: the address is unique on the link.
                let nodad = if address.contains(':') { "nodad" } else { "" };
                end.host.run(&format!("ip address add {address} dev {} {nodad}", end.interface))?;
            }
        }
        Ok(())
    }

    /// Moves the network card with this MAC address, in wire order, from the network namespace outside the lab to a
    /// host. It returns some time after the lab ends.
    pub fn plug(&self, mac: [u8; 6], into: &Host, interface: &str) -> Result<()> {
        let machine = self.outside()?;
        let card = eventually(RETURNED, &format!("a network card has the address {mac:02x?}"), || {
            machine.interface_of(mac).ok().flatten()
        })?;
        machine.run(&format!("ip link set {card} down"))?;
        machine.run(&format!("ip link set {card} netns {} name {interface}", into.name()))?;
        Ok(())
    }
}
