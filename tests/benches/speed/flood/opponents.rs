//! The same rule in the kernel's packet filters: count and drop packets to the endpoint from sources not allowed.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use firewall_tests::lab::Host;
use ipnet::Ipv4Net;

use crate::rules::{ADDRESS4, PORT};

pub struct Opponent {
    pub name: &'static str,
    /// Name of its host.
    pub host: &'static str,
    kind: Kind,
}

enum Kind {
    /// An nftables table of this family with one chain at this hook.
    Nftables {
        family: &'static str,
        hook: &'static str,
    },
    IptablesIpset,
}

pub static OPPONENTS: [Opponent; 4] = [
    Opponent {
        name: "nftables, netdev ingress",
        host: "ingress",
        kind: Kind::Nftables { family: "netdev", hook: "hook ingress device eth0 priority -500" },
    },
    Opponent {
        name: "nftables, inet prerouting (raw)",
        host: "raw",
        kind: Kind::Nftables { family: "inet", hook: "hook prerouting priority raw" },
    },
    Opponent {
        name: "nftables, inet input (filter)",
        host: "input",
        kind: Kind::Nftables { family: "inet", hook: "hook input priority filter" },
    },
    Opponent { name: "iptables raw + ipset", host: "ipset", kind: Kind::IptablesIpset },
];

/// Returns the one with the earliest hook.
pub fn ingress() -> &'static Opponent {
    &OPPONENTS[0]
}

impl Opponent {
    pub fn set_up(&self, directory: &Path, host: &Host, allowed: &[Ipv4Net]) -> Result<()> {
        let networks: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        let script = directory.join(format!("{}.rules", self.host));
        match &self.kind {
            Kind::Nftables { family, hook } => {
                let text = format!(
                    "table {family} firewall {{\n\
                     set allowed {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {} }} ; }}\n\
                     chain guard {{\ntype filter {hook}; policy accept;\n\
                     ip daddr {ADDRESS4} tcp dport {PORT} ip saddr != @allowed counter drop\n}}\n}}\n",
                    networks.join(", ")
                );
                fs::write(&script, text)?;
                host.run(&format!("nft -f {}", script.display()))?;
            }
            Kind::IptablesIpset => {
                let adds: String =
                    networks.iter().map(|network| format!("add allowed {network}\n")).collect();
                let text = format!("create allowed hash:net family inet maxelem 200000\n{adds}");
                fs::write(&script, text)?;
                host.run(&format!("ipset restore -file {}", script.display()))?;
                host.run(&format!(
                    "iptables-legacy -t raw -A PREROUTING -p tcp -d {ADDRESS4} --dport {PORT} -m set ! --match-set \
                     allowed src -j DROP"
                ))?;
            }
        }
        Ok(())
    }

    /// Returns the number of packets that its rule has counted.
    pub fn counted(&self, host: &Host) -> Result<u64> {
        let list = match self.kind {
            Kind::Nftables { .. } => {
                let text = host.run("nft list ruleset")?;
                text.split_once("counter packets ").map(|(_, rest)| rest.to_owned())
            }
            Kind::IptablesIpset => {
                let text = host.run("iptables-legacy -t raw -nvxL PREROUTING")?;
                text.lines().find(|line| line.contains("DROP")).map(str::to_owned)
            }
        };
        let count = list.as_deref().and_then(|text| text.split_whitespace().next()?.parse().ok());
        count.with_context(|| format!("{}: no count in its list of rules", self.name))
    }
}
