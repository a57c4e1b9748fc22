//! Construction of a test host: hosts, link, listeners, config, rule files and agent.

use std::cell::RefCell;

use derive_setters::Setters;

use super::test_host::INTERFACE;
use super::{AgentHome, Lab, RangesFile, RuleFile, Settings, TestHost, User, agent_binary};

/// Configuration of a [`TestHost`].
#[derive(Clone, Debug, Setters)]
pub struct Builder<'a> {
    /// The agent's user; default: unprivileged.
    user: User,
    /// The agent's interfaces; default: the link.
    interfaces: &'a [&'a str],
    /// The attach mode: `native`, `generic` or `auto`; default: `native`.
    xdp_mode: &'a str,
    /// The guarded ports; default: `5432` and `30000-32767`.
    guarded_ports: &'a [&'a str],
    /// Further lines of the config; default: none.
    config: &'a str,
    /// Addresses of the database host, with prefix lengths; default: `192.0.2.10/24`, `2001:db8:2::10/64`.
    servers: &'a [&'a str],
    /// Addresses of the outside host, with prefix lengths; default: none.
    clients: &'a [&'a str],
    /// TCP destinations of the database host with a listener; default: none.
    listeners: &'a [&'a str],
    /// Leaves the hosts without a link, for tests that only ask the kernel.
    #[setters(bool, rename = "unlinked")]
    is_unlinked: bool,
    #[setters(strip_option)]
    ranges: Option<RangesFile>,
    #[setters(skip)]
    rules: Vec<RuleFile>,
}

impl Builder<'_> {
    pub(super) fn new() -> Self {
        let Settings { interfaces, xdp_mode, guarded_ports, more } = Settings::default();
        Self {
            user: User::Unprivileged,
            interfaces,
            xdp_mode,
            guarded_ports,
            config: more,
            servers: &["192.0.2.10/24", "2001:db8:2::10/64"],
            clients: &[],
            listeners: &[],
            is_unlinked: false,
            ranges: None,
            rules: Vec::new(),
        }
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
        let Self { interfaces, xdp_mode, guarded_ports, config: more, .. } = self;
        let settings = Settings { interfaces, xdp_mode, guarded_ports, more };
        let home = AgentHome::new(&lab, &db, &agent_binary().unwrap(), self.user, &settings).unwrap();
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
        if !self.is_unlinked {
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
