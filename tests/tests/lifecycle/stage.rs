//! A database host with the agent's home, and a client host with allowed and denied addresses.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use firewall_tests::lab::{Agent, AgentHome, Answer, Host, Lab, Settings, User, agent_binary, eventually};
use serde_json::Value;

pub const DATABASE: &str = "orders";
pub const RULE_FILE: &str = "orders.yaml";
pub const INTERFACE: &str = "eth0";
pub const PORT: u16 = 30_092;
pub const UNPROTECTED: u16 = 8_080;
pub const SERVERS: [&str; 2] = ["192.0.2.10", "2001:db8:2::10"];
pub const ALLOWED: [&str; 2] = ["192.0.2.20", "2001:db8:2::20"];
pub const DENIED: [&str; 2] = ["192.0.2.66", "2001:db8:2::66"];

const RULES: &str = "  - {id: fr-1, type: custom_range, cidr: 192.0.2.16/28, label: Office}\n  \
                     - {id: fr-2, type: custom_range, cidr: '2001:db8:2::20/128'}\n";

pub struct Stage {
    pub home: AgentHome,
    pub db: Host,
    pub clients: Host,
    pub lab: Lab,
}

impl Stage {
    /// Creates two hosts on one wire and the rule file; no agent runs.
    pub fn new() -> Self {
        Self::with(&[INTERFACE], "native")
    }

    pub fn with(interfaces: &[&str], xdp_mode: &str) -> Self {
        let program = agent_binary().unwrap();
        let lab = Lab::new().unwrap();
        let (db, clients) = (lab.host("db").unwrap(), lab.host("clients").unwrap());
        let settings = Settings { interfaces, xdp_mode, guarded_ports: &["5432", "30000-32767"], more: "" };
        let home = AgentHome::new(&lab, &db, &program, User::Unprivileged, &settings).unwrap();
        home.write_rules(RULE_FILE, &rule_file(1)).unwrap();
        let stage = Self { home, db, clients, lab };
        stage.connect(INTERFACE);
        stage
    }

    /// Joins the hosts by interfaces of this name on both.
    pub fn connect(&self, interface: &str) {
        let (servers, sources) = (with_lengths(&SERVERS), with_lengths(&[ALLOWED, DENIED].concat()));
        let ends = [servers, sources];
        let [servers, sources] =
            ends.each_ref().map(|end| end.iter().map(String::as_str).collect::<Vec<_>>());
        self.lab.link(self.db.end(interface, &servers), self.clients.end(interface, &sources)).unwrap();
        self.wait_for_way();
    }

    /// Restores the database host's IPv6 address, which the kernel removes from an interface that goes down.
    pub fn restore_addresses(&self) {
        let interfaces = self.db.run("ip -o link show type veth").unwrap();
        let interface = interfaces.split([':', '@']).nth(1).unwrap().trim();
        for address in with_lengths(&SERVERS) {
            self.db.run(&format!("ip address replace {address} dev {interface} nodad")).unwrap();
        }
        self.wait_for_way();
    }

    /// Waits until the datagrams of every source arrive: an address of a new link is not always usable at once.
    fn wait_for_way(&self) {
        let target = {
            let _inside = self.db.enter().unwrap();
            UdpSocket::bind(at("::", UNPROTECTED)).unwrap()
        };
        target.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        for (source, server) in
            [ALLOWED, DENIED].into_iter().flat_map(|sources| sources.into_iter().zip(SERVERS))
        {
            let client = {
                let _inside = self.clients.enter().unwrap();
                UdpSocket::bind(at(source, 0)).unwrap()
            };
            eventually(Duration::from_secs(5), "a datagram arrives", || {
                client.send_to(b"?", at(server, UNPROTECTED)).ok()?;
                let (_, from) = target.recv_from(&mut [0]).ok()?;
                (from.ip().to_canonical() == at(source, 0).ip()).then_some(())
            })
            .unwrap();
        }
    }

    /// Starts the agent and waits until its status reports that it runs.
    pub fn start(&self) -> Agent {
        let mut agent = self.home.start().unwrap();
        let pid = u64::from(agent.pid());
        agent
            .wait_until("the agent says that it runs", || {
                self.home.status().is_ok_and(|status| status.0["agent"]["pid"].as_u64() == Some(pid))
            })
            .unwrap();
        agent
    }

    pub fn status(&self) -> Value {
        self.home.status().unwrap().0
    }

    /// Returns the JSON of a command that must succeed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let answer = self.home.ask(&[arguments, &["-o", "json"]].concat()).unwrap();
        serde_json::from_str(&answer.out).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    pub fn explain(&self, source: &str) -> Answer {
        self.home.ask(&["explain", source, DATABASE]).unwrap()
    }

    /// Returns the packets counted on the rule, over all agents.
    pub fn hits(&self, rule: &str) -> u64 {
        let rows = self.json(&["rules", DATABASE]);
        let row = rows.as_array().unwrap().iter().find(|row| row["rule"] == rule);
        row.unwrap_or_else(|| panic!("{rule}: not in {rows}"))["packets"].as_u64().unwrap()
    }

    /// Returns the agent's directory of files and state.
    pub fn dir(&self) -> PathBuf {
        self.home.config().parent().unwrap().to_owned()
    }
}

fn with_lengths(addresses: &[&str]) -> Vec<String> {
    addresses.iter().map(|one| format!("{one}/{}", if one.contains(':') { 64 } else { 24 })).collect()
}

/// Returns the database's file, with UDP endpoints for the traffic and TCP endpoints beside them.
pub fn rule_file(revision: u64) -> String {
    let endpoints = SERVERS.iter().flat_map(|server| {
        ["udp", "tcp"]
            .map(|protocol| format!("  - {{address: '{server}', port: {PORT}, protocol: {protocol}}}\n"))
    });
    format!(
        "schema_version: 1\ndatabase_id: {DATABASE}\nrevision: {revision}\n\
         generated_at: 2026-08-21T15:27:32Z\nendpoints:\n{}rules:\n{RULES}...\n",
        endpoints.collect::<String>()
    )
}

pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}
