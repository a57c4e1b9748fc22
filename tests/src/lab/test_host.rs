//! A database host with an agent's home, and a host outside it on the same link.

use std::cell::RefCell;
use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::packets::{Ethernet, Wire, frame};

use super::{Agent, AgentHome, Answer, Builder, Host, Lab, RangesFile, RuleFile, User, eventually};

/// The interface that joins the two hosts, on both.
pub const INTERFACE: &str = "eth0";
/// A port of the database host that nothing protects.
pub const UNPROTECTED: u16 = 8_080;
/// Generous bound of every wait, even on a busy machine.
const BOUND: Duration = Duration::from_secs(20);
/// A packet crosses a veth within microseconds: a connection that is not established after this time was denied.
const CONNECTED: Duration = Duration::from_millis(80);

/// Two hosts on one link; one has the agent's home.
#[derive(Debug)]
pub struct TestHost {
    pub(super) agent: RefCell<Option<Agent>>,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) servers: Vec<String>,
    pub(super) clients: Vec<String>,
    pub home: AgentHome,
    pub db: Host,
    pub outside: Host,
    pub lab: Lab,
}

/// Base of the traits by which test suites extend [`TestHost`].
pub trait OnHost {
    fn host(&self) -> &TestHost;
}

impl OnHost for TestHost {
    fn host(&self) -> &TestHost {
        self
    }
}

#[expect(clippy::unwrap_used, reason = "a test fails by its panic")]
impl TestHost {
    pub fn builder<'a>() -> Builder<'a> {
        Builder::new()
    }

    /// Joins the hosts by interfaces of this name on both, and waits until every client reaches the database host.
    pub fn link(&self, interface: &str) {
        let [servers, clients] = self.addresses();
        self.lab.link(self.db.end(interface, &servers), self.outside.end(interface, &clients)).unwrap();
        self.wait_for_route();
    }

    /// As `link`, by two network cards of the machine on one wire, with these MAC addresses: the database host's first.
    pub fn plug(&self, interface: &str, macs: [[u8; 6]; 2]) {
        for (mac, host) in macs.into_iter().zip([&self.db, &self.outside]) {
            self.lab.plug(mac, host, interface).unwrap();
        }
        self.bring_up(interface);
    }

    /// Brings the interfaces of this name up, with all addresses, and waits until every client reaches the database
    /// host.
    pub fn bring_up(&self, interface: &str) {
        let [servers, clients] = self.addresses();
        let ends = [self.db.end(interface, &servers), self.outside.end(interface, &clients)];
        self.lab.bring_up(ends).unwrap();
        self.wait_for_route();
    }

    fn addresses(&self) -> [Vec<&str>; 2] {
        [&self.servers, &self.clients].map(|all| all.iter().map(String::as_str).collect())
    }

    /// Restores the database host's IPv6 addresses, which the kernel removes from an interface that goes down.
    pub fn restore_addresses(&self) {
        let interfaces = self.db.run("ip -o link show type veth").unwrap();
        let interface = interfaces.split([':', '@']).nth(1).unwrap().trim();
        for address in &self.servers {
            self.db.run(&format!("ip address replace {address} dev {interface} nodad")).unwrap();
        }
        self.wait_for_route();
    }

    /// Waits until the datagrams of every client arrive: an address of a new link is not always usable at once.
    fn wait_for_route(&self) {
        let target = self.db.udp(("::", UNPROTECTED)).unwrap();
        target.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        for source in self.clients.iter().map(|one| without_length(one)) {
            let is_ipv6 = source.contains(':');
            let server = self.servers.iter().find(|one| one.contains(':') == is_ipv6).unwrap();
            let client = self.outside.udp((source, 0)).unwrap();
            eventually(BOUND, "a datagram arrives", || {
                client.send_to(b"?", (without_length(server), UNPROTECTED)).ok()?;
                let (_, from) = target.recv_from(&mut [0]).ok()?;
                (from.ip().to_canonical() == source.parse::<IpAddr>().unwrap()).then_some(())
            })
            .unwrap();
        }
    }

    /// Opens the outside end of a link for raw frames.
    pub fn wire(&self, interface: &str) -> Wire {
        let _inside = self.outside.enter().unwrap();
        Wire::open(interface).unwrap()
    }

    /// Returns the header of a frame over a link from the outside host to the database host.
    pub fn frame(&self, interface: &str) -> Ethernet {
        let [to, from] = [&self.db, &self.outside].map(|host| host.mac(interface).unwrap());
        frame().to(to).from(from)
    }

    /// Starts the agent and waits until its status reports that it runs.
    pub fn start(&self) {
        self.start_with(&[]);
    }

    /// As `start`, with further flags.
    pub fn start_with(&self, flags: &[&str]) {
        self.own(self.home.start_with(flags).unwrap());
    }

    /// Takes over a started agent once its status reports that it runs.
    pub fn own(&self, agent: Agent) {
        let pid = u64::from(agent.pid());
        self.own_once(agent, || self.home.status().is_ok_and(|status| status["agent"]["pid"] == pid));
    }

    /// Takes over a started agent once `runs` returns `true`.
    pub fn own_once(&self, mut agent: Agent, runs: impl FnMut() -> bool) {
        agent.wait_until("the agent runs", runs).unwrap();
        *self.agent.borrow_mut() = Some(agent);
    }

    /// Hands over the running agent.
    pub fn take_agent(&self) -> Agent {
        self.agent.take().unwrap()
    }

    /// As `start`, for a caller that owns the agent.
    pub fn start_agent(&self) -> Agent {
        self.start();
        self.take_agent()
    }

    pub fn is_running(&self) -> bool {
        self.agent.borrow().is_some()
    }

    pub fn stop(&self) {
        self.take_agent().terminate().unwrap();
    }

    pub fn kill(&self) {
        self.take_agent().kill().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.agent.borrow().as_ref().unwrap().pid()
    }

    /// Returns everything that the agents of this host have logged; nothing unless one runs.
    pub fn log(&self) -> String {
        self.agent.borrow().as_ref().map(Agent::log).unwrap_or_default()
    }

    /// Empties bpffs, as a reboot does; no agent may run.
    pub fn remove_pins(&self) {
        assert!(self.agent.borrow().is_none(), "an agent runs");
        for pins in fs::read_dir(self.home.pins()).unwrap() {
            fs::remove_dir_all(pins.unwrap().path()).unwrap();
        }
    }

    /// Publishes a rule file under the name of its database.
    pub fn push(&self, file: &RuleFile) {
        self.home.push(file).unwrap();
    }

    pub fn push_ranges(&self, ranges: &RangesFile) {
        self.home.write_ranges(&ranges.to_string()).unwrap();
    }

    /// Publishes a text as a rule file of this name.
    pub fn write(&self, name: &str, text: impl Display) {
        self.home.write_rules(name, &text.to_string()).unwrap();
    }

    /// Returns the directory of the agent's files.
    pub fn dir(&self) -> PathBuf {
        self.home.config().parent().map(Path::to_owned).unwrap()
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir().join("state")
    }

    /// Replaces a text that must occur in the config.
    pub fn change_config(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.home.config()).unwrap();
        assert!(text.contains(from), "{from}: {text}");
        fs::write(self.home.config(), text.replace(from, to)).unwrap();
    }

    pub fn ask(&self, arguments: &[&str]) -> Answer {
        self.home.ask(arguments).unwrap()
    }

    /// As `ask`, by another user than the agent's own.
    pub fn ask_as(&self, user: User, arguments: &[&str]) -> Answer {
        Answer::of(&mut self.home.command(user, "", arguments)).unwrap()
    }

    /// Returns the JSON that a command prints.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let answer = self.ask(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&answer.out).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    pub fn status(&self) -> Value {
        self.home.status().unwrap()
    }

    /// Returns the kernel's reason for a packet.
    pub fn reason(&self, source: &str, destination: &str) -> String {
        self.json(&["explain", source, destination])[0]["reason"].as_str().unwrap().to_owned()
    }

    /// Returns the packets counted on a rule, over all agents.
    pub fn hits(&self, database: &str, rule: &str) -> u64 {
        let rows = self.json(&["rules", database]);
        let row = rows.as_array().unwrap().iter().find(|row| row["rule"] == rule);
        row.unwrap_or_else(|| panic!("{rule}: not in {rows}"))["packets"].as_u64().unwrap()
    }

    /// Waits until `is_so` returns `true`; panics with the log.
    pub fn eventually(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let waited = eventually(BOUND, what, || is_so().then_some(()));
        waited.unwrap_or_else(|error| panic!("{error:#}\n{}", self.log()));
    }

    /// Waits until `is_so` returns `true` for the status; panics with status and log.
    pub fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let status = eventually(BOUND, what, || self.home.status().ok().filter(&is_so));
        status.unwrap_or_else(|error| panic!("{error:#}\n{:#?}\n{}", self.home.status(), self.log()))
    }

    /// Waits until this revision is in force, with its endpoints.
    pub fn until_revision(&self, database: &str, revision: u64) -> Value {
        self.until(&format!("{database} at revision {revision}"), |status| {
            let one = database_of(status, database);
            one["revision"] == revision && one["endpoints"] != serde_json::json!([])
        })
    }

    /// Waits until this revision is in force without a condition.
    pub fn until_applied(&self, database: &str, revision: u64) {
        self.until(&format!("{database} applied at revision {revision}"), |status| {
            let one = database_of(status, database);
            one["revision"] == revision && one["state"] == "applied"
        });
    }

    pub fn until_state(&self, database: &str, state: &str) -> Value {
        self.until(&format!("{database} is {state}"), |status| {
            database_of(status, database)["state"] == state
        })
    }

    /// Waits until a file is rejected with these words.
    pub fn until_rejected(&self, words: &str) -> Value {
        self.until(&format!("rejected: {words}"), |status| {
            status["rejected_files"].to_string().contains(words)
        })
    }

    /// Returns whether a TCP connection from a client's IPv4 address to a listener succeeds.
    pub fn connects(&self, source: &str, to: &str) -> bool {
        // Unaccepted connections would fill the backlog and block further ones.
        for listener in &self.listeners {
            while listener.accept().is_ok() {}
        }
        connects(&self.outside, source, to)
    }
}

/// Returns the database's part of a status; null without one.
pub fn database_of<'a>(status: &'a Value, database: &str) -> &'a Value {
    let databases = status["databases"].as_array().map(Vec::as_slice).unwrap_or_default();
    databases.iter().find(|one| one["database_id"] == database).unwrap_or(&Value::Null)
}

/// Returns whether a TCP connection from this IPv4 address of a host succeeds.
#[expect(clippy::unwrap_used, reason = "a test fails by its panic")]
pub fn connects(from: &Host, source: &str, to: &str) -> bool {
    let client = {
        let _inside = from.enter().unwrap();
        Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
    };
    client.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
    match client.connect_timeout(&to.parse::<SocketAddr>().unwrap().into(), CONNECTED) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::TimedOut => false,
        Err(error) => panic!("{source} → {to}: {error}"),
    }
}

fn without_length(address: &str) -> &str {
    address.split_once('/').map_or(address, |(address, _)| address)
}
