//! The hosts of the demo and the processes on them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::files::{RULE_FILE, managed_ranges, rule_file};
use crate::lab::{Agent, AgentHome, Host, Lab, Postgres, Session, Settings, User};

pub const MAP: &str = "\
db        192.0.2.10      2001:db8:2::10  PostgreSQL on port 30092, TLS only; eth0 is its uplink
office    203.0.113.20    2001:db8:3::20  one of 203.0.113.0/24
app       198.51.100.7    2001:db8:4::7   one of the provider's managed range
stranger  198.51.100.200  2001:db8:5::66  anybody else
router    between them";

/// The server's addresses, one of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// The hosts and processes of the demo. The fields drop in order: the processes end before the lab leaves its
/// namespaces.
#[derive(Debug)]
pub struct DemoHosts {
    pub agent: Option<Agent>,
    /// A session of the office that stays open from the first step with the agent to the last.
    pub office_session: Option<Session>,
    pub home: AgentHome,
    pub office: Host,
    pub app: Host,
    pub stranger: Host,
    _postgres: Postgres,
    _lab: Lab,
}

impl DemoHosts {
    /// Builds hosts, routes, the server, and the agent's files; starts no agent.
    pub fn build(agent: &Path) -> Result<Self> {
        let lab = Lab::new()?;
        let router = lab.host("router")?;
        router.forward()?;
        let join = |name, addresses: &[&str], gateways: &[&str]| -> Result<Host> {
            let host = lab.host(name)?;
            let uplinks = gateways.iter().zip(addresses).map(|(gateway, address)| {
                let length = address.split('/').nth(1).unwrap_or_default();
                format!("{gateway}/{length}")
            });
            let uplinks: Vec<String> = uplinks.collect();
            let uplinks: Vec<&str> = uplinks.iter().map(String::as_str).collect();
            lab.link(host.end("eth0", addresses), router.end(&format!("{name}0"), &uplinks))?;
            host.route_by(gateways)?;
            Ok(host)
        };
        let db = join("db", &["192.0.2.10/24", "2001:db8:2::10/64"], &["192.0.2.1", "2001:db8:2::1"])?;
        let office =
            join("office", &["203.0.113.20/24", "2001:db8:3::20/64"], &["203.0.113.1", "2001:db8:3::1"])?;
        let app = join("app", &["198.51.100.7/25", "2001:db8:4::7/64"], &["198.51.100.1", "2001:db8:4::1"])?;
        let stranger = join(
            "stranger",
            &["198.51.100.200/25", "2001:db8:5::66/64"],
            &["198.51.100.129", "2001:db8:5::1"],
        )?;
        let postgres = Postgres::start(&lab, &db, 30092)?;
        let home = AgentHome::new(&lab, &db, agent, User::Unprivileged, &Settings::default())?;
        home.write_ranges(&managed_ranges(&now(&db)?).to_string())?;
        Ok(Self {
            agent: None,
            office_session: None,
            home,
            office,
            app,
            stranger,
            _postgres: postgres,
            _lab: lab,
        })
    }

    /// Publishes a new revision of the rule file; returns the time at which it became visible.
    pub fn push(&self, revision: u64, rules: &[&str]) -> Result<Instant> {
        self.home.write_rules(RULE_FILE, &rule_file(revision, &now(self.home.host())?, rules).to_string())
    }

    pub fn agent(&mut self) -> Result<(&mut Agent, &AgentHome)> {
        Ok((self.agent.as_mut().context("no agent runs")?, &self.home))
    }
}

pub fn server(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::from(([192, 0, 2, 10], 30092)),
        Family::V6 => SocketAddr::from(([0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10], 30092)),
    }
}

/// Returns the current time in RFC 3339, from which the agent computes meaningful propagation times.
fn now(host: &Host) -> Result<String> {
    Ok(host.run("date -u +%Y-%m-%dT%H:%M:%SZ")?.trim().to_owned())
}
