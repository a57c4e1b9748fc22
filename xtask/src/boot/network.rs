//! The guest's network: a bridge that joins its interface to an allowed and a denied source.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use anyhow::{Context as _, Result};
use firewall_tests::lab::{Host, Lab};

/// MAC address of the guest's interface, and the link-local address that follows from it.
pub const MAC: &str = "52:54:00:00:00:01";
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, 1);
/// Name of the interface that QEMU opens.
pub const TAP: &str = "tap0";
pub const GUEST: &str = "192.0.2.10";
pub const FRIEND: &str = "192.0.2.20";
pub const STRANGER: &str = "192.0.2.66";
pub const PORT: u16 = 5432;

/// Network namespaces around the guest; QEMU runs on the hub.
#[derive(Debug)]
pub struct Network {
    pub hub: Host,
    pub friend: Host,
    pub stranger: Host,
    pub lab: Lab,
}

impl Network {
    pub fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let (hub, friend, stranger) = (lab.host("hub")?, lab.host("friend")?, lab.host("stranger")?);
        hub.run("ip link add br0 up type bridge")?;
        hub.run(&format!("ip tuntap add {TAP} mode tap"))?;
        for (host, address) in [(&friend, FRIEND), (&stranger, STRANGER)] {
            let address = format!("{address}/24");
            lab.link(hub.end(host.name(), &[]), host.end("eth0", &[&address]))?;
            // Packets leave at any time, without a guest that answers the question for its address.
            for guest in [GUEST, &LINK_LOCAL.to_string()] {
                host.run(&format!("ip neighbour add {guest} lladdr {MAC} dev eth0 nud permanent"))?;
            }
        }
        for port in [TAP, friend.name(), stranger.name()] {
            hub.run(&format!("ip link set {port} master br0 up"))?;
        }
        Ok(Self { hub, friend, stranger, lab })
    }

    /// Returns the protected port at the guest's link-local address, as the stranger reaches it.
    pub fn link_local(&self) -> Result<SocketAddr> {
        let shown = self.stranger.run("ip -oneline link show eth0")?;
        let index = shown.split(':').next().and_then(|index| index.parse().ok());
        let index = index.with_context(|| format!("eth0: no index in {shown:?}"))?;
        Ok(SocketAddrV6::new(LINK_LOCAL, PORT, 0, index).into())
    }
}
