//! The network of the cluster: a node, a client and a stranger, with a router between them.

use std::net::IpAddr;

use anyhow::Result;
use firewall_tests::lab::{Host, Lab};

use super::services::{ADDRESS, NODE};
use super::traffic::{CLIENT, STRANGER};

/// Address of the router on the node's link.
const GATEWAY: &str = "192.0.2.1";

#[derive(Debug)]
pub struct Hosts {
    pub node: Host,
    pub client: Host,
    pub stranger: Host,
}

impl Hosts {
    pub fn build(lab: &Lab) -> Result<Self> {
        let router = lab.host("router")?;
        router.forward()?;
        let join = |name: &str, address: &str, gateway: &str| -> Result<Host> {
            let host = lab.host(name)?;
            let (address, uplink) = (format!("{address}/24"), format!("{gateway}/24"));
            lab.link(host.end("eth0", &[&address]), router.end(&format!("{name}0"), &[&uplink]))?;
            host.route_by(&[gateway])?;
            Ok(host)
        };
        let outside = |name, address: IpAddr, gateway| join(name, &address.to_string(), gateway);
        Ok(Self {
            node: join(NODE, ADDRESS, GATEWAY)?,
            client: outside("client", CLIENT, "203.0.113.1")?,
            stranger: outside("stranger", STRANGER, "198.51.100.129")?,
        })
    }

    /// Takes the node's network down, as a boot finds it.
    pub fn take_down(&self) -> Result<()> {
        self.node.run("ip link set eth0 down").map(drop)
    }

    /// Brings the node's network up.
    pub fn bring_up(&self) -> Result<()> {
        self.node.run("ip link set eth0 up")?;
        self.node.run(&format!("ip route replace default via {GATEWAY}")).map(drop)
    }
}
