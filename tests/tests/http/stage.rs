//! A database host with an agent that listens on a unix socket and on TCP, and an outside host that sends packets.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use firewall_tests::lab::{Agent, AgentHome, Host, Lab, Settings, User, agent_binary, eventually};
use firewall_tests::packets::{Wire, frame};
use serde_json::{Value, json};

use crate::scrape::Scrape;

pub const INTERFACE: &str = "eth0";
pub const TCP: &str = "127.0.0.1:9639";
pub const PORT: u16 = 30_092;
pub const OFFICE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Generous bound for every wait here, even on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Stage {
    pub agent: Option<Agent>,
    pub home: AgentHome,
    pub db: Host,
    pub outside: Host,
    _lab: Lab,
}

/// Response of an HTTP server.
#[derive(Debug)]
pub struct Reply {
    pub code: u16,
    pub head: String,
    pub body: String,
}

impl Stage {
    /// Starts an agent without rule files.
    pub fn new() -> Self {
        let mut stage = Self::without_agent("");
        stage.start();
        stage
    }

    pub fn without_agent(more: &str) -> Self {
        let program = agent_binary().unwrap();
        let lab = Lab::new().unwrap();
        let (db, outside) = (lab.host("db").unwrap(), lab.host("outside").unwrap());
        lab.link(db.end(INTERFACE, &["192.0.2.10/24"]), outside.end(INTERFACE, &[])).unwrap();
        let guarded = &["5432", "30000-32767"];
        let settings =
            Settings { interfaces: &[INTERFACE], xdp_mode: "native", guarded_ports: guarded, more };
        let home = AgentHome::new(&lab, &db, &program, User::Unprivileged, &settings).unwrap();
        let config = fs::read_to_string(home.config()).unwrap();
        fs::write(home.config(), config.replace("http.sock]", &format!("http.sock, {TCP}]"))).unwrap();
        Self { agent: None, home, db, outside, _lab: lab }
    }

    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    pub fn start_with(&mut self, flags: &[&str]) {
        let mut agent = self.home.start_with(flags).unwrap();
        let pid = u64::from(agent.pid());
        let runs = || {
            self.try_get("/status").is_some_and(|reply| {
                serde_json::from_str::<Value>(&reply.body).unwrap()["agent"]["pid"].as_u64() == Some(pid)
            })
        };
        agent.wait_until("the agent runs", runs).unwrap();
        self.agent = Some(agent);
    }

    pub fn stop(&mut self) {
        self.agent.take().unwrap().terminate().unwrap();
    }

    pub fn log(&self) -> String {
        self.agent.as_ref().unwrap().log()
    }

    pub fn socket(&self) -> PathBuf {
        self.home.config().with_file_name("http.sock")
    }

    /// Publishes a file and waits for its revision.
    pub fn apply(&self, name: &str, revision: u64, rules: &[&str]) {
        self.home.write_rules(&format!("{name}.yaml"), &file(name, revision, rules)).unwrap();
        self.until(&format!("{name}: revision {revision} in force"), || {
            // The endpoint follows the allow list.
            self.home.status().is_ok_and(|status| {
                status.revision(name) == Some(revision)
                    && status.0["databases"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .all(|one| one["endpoints"] != json!([]))
            })
        });
        // The daemon reports it a moment later.
        self.until(&format!("{name}: revision {revision} is told"), || {
            self.try_get("/status").is_some_and(|reply| {
                let told: Value = serde_json::from_str(&reply.body).unwrap_or_default();
                let mut databases = told["databases"].as_array().into_iter().flatten();
                databases.any(|one| one["database_id"] == name && one["revision"] == revision)
            })
        });
    }

    /// Waits until `is_so` returns `true`; panics with the log after [`SOON`].
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let waited = eventually(SOON, what, || is_so().then_some(()));
        waited.unwrap_or_else(|error| panic!("{error:#}\n{}", self.log()));
    }

    /// Waits until `is_so` returns `true` for a metric.
    pub fn until_metric(&self, series: &str, is_so: impl Fn(f64) -> bool) -> Scrape {
        let mut last = None;
        let waited = eventually(SOON, series, || {
            let scrape = self.scrape();
            last = scrape.value(series);
            last.is_some_and(&is_so).then_some(scrape)
        });
        waited.unwrap_or_else(|error| panic!("{error:#}: it is {last:?}\n{}", self.log()))
    }

    pub fn scrape(&self) -> Scrape {
        let reply = self.get("/metrics");
        assert_eq!(reply.code, 200, "{reply:?}");
        Scrape::read(&reply.body)
    }

    /// Sends a GET to the unix socket.
    pub fn get(&self, path: &str) -> Reply {
        self.try_get(path).unwrap()
    }

    pub fn try_get(&self, path: &str) -> Option<Reply> {
        exchange(UnixStream::connect(self.socket()).ok()?, &request("GET", path))
    }

    /// Sends a GET to the TCP listener.
    pub fn get_by_tcp(&self, path: &str) -> Option<Reply> {
        let stream = self.db.connect(TCP.parse::<SocketAddr>().unwrap(), Duration::from_secs(5)).ok()?;
        exchange(stream, &request("GET", path))
    }

    /// Sends TCP packets to the database's port from outside.
    pub fn send(&self, source: Ipv4Addr, count: usize) {
        let _inside = self.outside.enter().unwrap();
        let (to, from) = (self.db.mac(INTERFACE).unwrap(), self.outside.mac(INTERFACE).unwrap());
        let frame = frame().to(to).from(from).ipv4(source, SERVER).tcp(40_000, PORT).build();
        let wire = Wire::open(INTERFACE).unwrap();
        (0..count).for_each(|_| wire.send(&frame).unwrap());
    }

    /// Injects faults into the bpf(2) calls of the agent's event loop, and of no other thread, until dropped.
    pub fn tamper(&self, how: &str) -> Tampering {
        let pid = self.agent.as_ref().unwrap().pid();
        let child = Command::new("strace")
            .args(["-qq", "-e", "trace=bpf", "-e", &format!("inject=bpf:{how}"), "-o", "/dev/null"])
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let tampering = Tampering(child);
        self.until("strace has attached", || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            !status.contains("TracerPid:\t0")
        });
        tampering
    }
}

pub struct Tampering(Child);

impl Drop for Tampering {
    fn drop(&mut self) {
        // On SIGTERM strace detaches from the agent; SIGKILL would kill the agent too.
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

pub fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Sends the request and reads to the end; `None` if no whole response arrives in time.
pub fn exchange(mut stream: impl Read + Write, request: &str) -> Option<Reply> {
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some(Reply { code, head: head.to_lowercase(), body: body.to_owned() })
}

/// Returns a rule file with one endpoint.
pub fn file(database: &str, revision: u64, rules: &[&str]) -> String {
    let rules: Vec<String> = rules.iter().map(|rule| format!("  - {{{rule}}}\n")).collect();
    format!(
        "schema_version: 1\ndatabase_id: {database}\nname: The secret orders\nrevision: {revision}\n\
         generated_at: 2026-08-21T15:27:32Z\nendpoints:\n  - {{address: {SERVER}, port: {PORT}}}\n\
         rules:{}{}\ninternal_ranges:\n  - {{cidr: 10.231.23.0/24, label: nodes}}\n...\n",
        if rules.is_empty() { " []" } else { "\n" },
        rules.concat()
    )
}

pub const OFFICE_RULE: &str = "id: fr-1, type: custom_range, cidr: 203.0.113.0/24, label: Secret office";
pub const SHOP_RULE: &str = "id: fr-2, type: custom_range, cidr: 198.18.0.0/24";
