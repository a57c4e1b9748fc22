//! A database host with an agent that listens on a unix socket and on TCP, and an outside host that sends packets.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use firewall_tests::lab::{INTERFACE, OnHost, RuleFile, TestHost, database_of};
use serde_json::Value;

use crate::scrape::Scrape;
use crate::strace::Injected;

pub const TCP: &str = "127.0.0.1:9639";
pub const PORT: u16 = 30_092;
pub const OFFICE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

/// Response of an HTTP server.
#[derive(Debug)]
pub struct Reply {
    pub code: u16,
    pub head: String,
    pub body: String,
}

/// Starts an agent without rule files.
pub fn listening() -> TestHost {
    let host = stopped();
    host.serve(&[]);
    host
}

/// Returns the host without an agent.
pub fn stopped() -> TestHost {
    let host = TestHost::builder().build();
    host.change_config("http.sock]", &format!("http.sock, {TCP}]"));
    host
}

/// Requests to the agent and packets to its host.
pub trait Http: OnHost {
    /// Starts the agent and waits until its own status page names it.
    fn serve(&self, flags: &[&str]) {
        let agent = self.host().home.start_with(flags).unwrap();
        let pid = u64::from(agent.pid());
        self.host().own_once(agent, || self.status_page().is_some_and(|page| page["agent"]["pid"] == pid));
    }

    fn socket(&self) -> PathBuf {
        self.host().dir().join("http.sock")
    }

    /// Publishes a file and waits until its revision is in force and on the status page.
    fn apply(&self, database: &str, revision: u64, rules: &[&str]) {
        self.host().push(&file(database, revision, rules));
        self.host().until_revision(database, revision);
        self.host().eventually(&format!("{database}: revision {revision} on the status page"), || {
            self.status_page().is_some_and(|page| database_of(&page, database)["revision"] == revision)
        });
    }

    /// Waits until `is_so` returns `true` for a metric.
    fn until_metric(&self, series: &str, is_so: impl Fn(f64) -> bool) -> Scrape {
        let mut last = None;
        self.host().eventually(series, || {
            let scrape = self.scrape();
            let found = scrape.value(series).is_some_and(&is_so);
            last = Some(scrape);
            found
        });
        last.unwrap()
    }

    fn scrape(&self) -> Scrape {
        let reply = self.get("/metrics");
        assert_eq!(reply.code, 200, "{reply:?}");
        Scrape::read(&reply.body)
    }

    /// Sends a GET to the unix socket.
    fn get(&self, path: &str) -> Reply {
        self.try_get(path).unwrap()
    }

    fn try_get(&self, path: &str) -> Option<Reply> {
        exchange(UnixStream::connect(self.socket()).ok()?, &request("GET", path))
    }

    fn status_page(&self) -> Option<Value> {
        serde_json::from_str(&self.try_get("/status")?.body).ok()
    }

    /// Sends a GET to the TCP listener.
    fn get_by_tcp(&self, path: &str) -> Option<Reply> {
        let stream = self.host().db.connect(TCP, Duration::from_secs(5)).ok()?;
        exchange(stream, &request("GET", path))
    }

    /// Sends TCP packets to the database's port from outside.
    fn send(&self, source: Ipv4Addr, count: usize) {
        let frame = self.host().frame(INTERFACE).ipv4(source, SERVER).tcp(40_000, PORT).build();
        let wire = self.host().wire(INTERFACE);
        (0..count).for_each(|_| wire.send(&frame).unwrap());
    }

    /// Injects faults into the bpf(2) calls of the agent's event loop, and of no other thread, until dropped.
    fn tamper(&self, fault: &str) -> Injected {
        Injected::into_event_loop(self.host().pid(), "bpf", fault)
    }
}

impl Http for TestHost {}

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
pub fn file(database: &str, revision: u64, rules: &[&str]) -> RuleFile {
    RuleFile::new(database, revision)
        .field("name: The secret orders")
        .endpoint(&format!("{SERVER}:{PORT}"))
        .rules(rules)
        .internal_range("10.231.23.0/24", "nodes")
}

pub const OFFICE_RULE: &str = "id: fr-1, type: custom_range, cidr: 203.0.113.0/24, label: Secret office";
pub const SHOP_RULE: &str = "id: fr-2, type: custom_range, cidr: 198.18.0.0/24";
