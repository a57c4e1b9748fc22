//! Construction of a test host: hosts, link, listeners, config, rule files and agent.

use std::cell::RefCell;

use super::test_host::INTERFACE;
use super::{AgentHome, Lab, RangesFile, RuleFile, Settings, TestHost, User, agent_binary};

/// Configuration of a [`TestHost`].
#[derive(Clone, Debug)]
pub struct Builder<'a> {
    settings: Settings<'a>,
    user: User,
    servers: &'a [&'a str],
    clients: &'a [&'a str],
    listeners: &'a [&'a str],
    is_linked: bool,
    ranges: Option<RangesFile>,
    rules: Vec<RuleFile>,
}

impl<'a> Builder<'a> {
    pub(super) fn new() -> Self {
        Self {
            settings: Settings::default(),
            user: User::Unprivileged,
            servers: &["192.0.2.10/24", "2001:db8:2::10/64"],
            clients: &[],
            listeners: &[],
            is_linked: true,
            ranges: None,
            rules: Vec::new(),
        }
    }

    /// Sets the agent's user; default: unprivileged.
    pub fn user(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// Sets the agent's interfaces; default: the link.
    pub fn interfaces(mut self, interfaces: &'a [&'a str]) -> Self {
        self.settings.interfaces = interfaces;
        self
    }

    /// Sets the attach mode: `native`, `generic` or `auto`; default: `native`.
    pub fn xdp_mode(mut self, mode: &'a str) -> Self {
        self.settings.xdp_mode = mode;
        self
    }

    /// Sets the guarded ports; default: `5432` and `30000-32767`.
    pub fn guarded_ports(mut self, ports: &'a [&'a str]) -> Self {
        self.settings.guarded_ports = ports;
        self
    }

    /// Adds lines to the config.
    pub fn config(mut self, lines: &'a str) -> Self {
        self.settings.more = lines;
        self
    }

    /// Sets the addresses of the database host, with prefix lengths; default: `192.0.2.10/24`, `2001:db8:2::10/64`.
    pub fn servers(mut self, addresses: &'a [&'a str]) -> Self {
        self.servers = addresses;
        self
    }

    /// Sets the addresses of the outside host, with prefix lengths; default: none.
    pub fn clients(mut self, addresses: &'a [&'a str]) -> Self {
        self.clients = addresses;
        self
    }

    /// Listens on these TCP destinations of the database host.
    pub fn listeners(mut self, destinations: &'a [&'a str]) -> Self {
        self.listeners = destinations;
        self
    }

    /// Leaves the hosts without a link, for tests that only ask the kernel.
    pub fn unlinked(mut self) -> Self {
        self.is_linked = false;
        self
    }

    pub fn ranges(mut self, ranges: RangesFile) -> Self {
        self.ranges = Some(ranges);
        self
    }

    pub fn rules(mut self, file: RuleFile) -> Self {
        self.rules.push(file);
        self
    }

    /// Creates the hosts, the link and the files; starts no agent. Panics on any failure, as all methods here do.
    #[expect(clippy::unwrap_used, reason = "a test fails by its panic")]
    pub fn build(self) -> TestHost {
        let lab = Lab::new().unwrap();
        let (db, outside) = (lab.host("db").unwrap(), lab.host("outside").unwrap());
        let home = AgentHome::new(&lab, &db, &agent_binary().unwrap(), self.user, &self.settings).unwrap();
        let owned = |addresses: &[&str]| addresses.iter().map(|one| (*one).to_owned()).collect();
        let mut host = TestHost {
            agent: RefCell::default(),
            listeners: Vec::new(),
            servers: owned(self.servers),
            clients: owned(self.clients),
            home,
            db,
            outside,
            lab,
        };
        if self.is_linked {
            host.link(INTERFACE);
        }
        host.listeners = self.listeners.iter().map(|at| host.db.listen(at).unwrap()).collect();
        host.listeners.iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
        if let Some(ranges) = &self.ranges {
            host.push_ranges(ranges);
        }
        self.rules.iter().for_each(|file| host.push(file));
        host
    }

    /// As `build`, with a running agent.
    pub fn start(self) -> TestHost {
        let host = self.build();
        host.start();
        host
    }
}
