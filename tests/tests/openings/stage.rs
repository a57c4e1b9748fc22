//! A database host with listeners on unguarded ports, real connections from an allowed source and from strangers, and a
//! simulated boot.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use firewall_tests::lab::{Agent, AgentHome, Answer, Host, Lab, Settings, User, agent_binary, eventually};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use serde_json::Value;

/// Unguarded, with a listener.
pub const E1: &str = "10.77.0.1:8080";
pub const E2: &str = "10.77.0.11:8080";
/// Guarded, with a listener.
pub const GUARDED: &str = "10.77.0.1:5432";
pub const ALLOWED: &str = "10.77.0.3";
pub const STRANGER: &str = "10.77.0.2";
pub const RULE_FILE: &str = "a.yaml";
pub const DATABASE: &str = "a";

/// A packet crosses a veth within microseconds: a connection that is not established after this time was denied.
const PATIENCE_MS: i64 = 80;
const BOUND: Duration = Duration::from_secs(10);

/// Connection attempts by a stranger that had to fail, in all tests of this process.
static TRIED: AtomicU64 = AtomicU64::new(0);

pub struct Stage {
    agent: RefCell<Option<Agent>>,
    listeners: Vec<TcpListener>,
    pub home: AgentHome,
    _db: Host,
    peer: Host,
    pub lab: Lab,
}

impl Stage {
    /// Creates the hosts, without an agent; `more` are further config lines. A stranger gets in everywhere.
    pub fn new(more: &str) -> Self {
        let lab = Lab::new().unwrap();
        let (db, peer) = (lab.host("db").unwrap(), lab.host("peer").unwrap());
        let (servers, sources) = (
            ["10.77.0.1/24", "10.77.0.11/24"],
            ["10.77.0.2/24", "10.77.0.3/24", "10.77.0.4/24", "10.77.0.5/24"],
        );
        lab.link(db.end("eth0", &servers), peer.end("eth0", &sources)).unwrap();
        let settings = Settings { interfaces: &["eth0"], xdp_mode: "native", guarded_ports: &["5432"], more };
        let home =
            AgentHome::new(&lab, &db, &agent_binary().unwrap(), User::Unprivileged, &settings).unwrap();
        let listeners = {
            let _inside = db.enter().unwrap();
            [E1, E2, GUARDED].map(|at| TcpListener::bind(at).unwrap()).into()
        };
        let stage = Self { agent: RefCell::default(), listeners, home, _db: db, peer, lab };
        stage.listeners.iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
        stage.is_open_to_strangers();
        stage
    }

    /// Starts the agent and waits until it has written its status, or answers where there is no room for a status.
    pub fn run(&self) {
        let mut agent = self.home.start().unwrap();
        let pid = u64::from(agent.pid());
        let runs = || {
            let Ok(status) = self.home.status() else { return false };
            let is_missing = status.0["errors"].to_string().contains("cannot read the daemon's status");
            status.0["agent"]["pid"].as_u64() == Some(pid)
                || is_missing && self.home.ask(&["health"]).unwrap().code == Some(0)
        };
        agent.wait_until("the agent runs", runs).unwrap();
        *self.agent.borrow_mut() = Some(agent);
    }

    pub fn stop(&self) {
        self.agent.take().unwrap().terminate().unwrap();
    }

    pub fn kill(&self) {
        self.agent.take().unwrap().kill().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.agent.borrow().as_ref().unwrap().pid()
    }

    pub fn push(&self, text: &str) {
        self.home.write_rules(RULE_FILE, text).unwrap();
    }

    /// Waits until `is_so` returns `true` for the status, at most ten seconds.
    pub fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let status =
            eventually(BOUND, what, || self.home.status().ok().map(|status| status.0).filter(&is_so));
        status.unwrap_or_else(|error| panic!("{error:#}\n{:#}", self.status()))
    }

    pub fn until_applied(&self, database: &str, revision: u64) {
        self.until(&format!("{database} at revision {revision}"), |status| {
            let databases = status["databases"].as_array().unwrap();
            let one = databases.iter().find(|one| one["database_id"] == database);
            one.is_some_and(|one| one["revision"] == revision && one["state"] == "applied")
        });
    }

    pub fn status(&self) -> Value {
        self.home.status().unwrap().0
    }

    /// Returns the state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.home.config().with_file_name("state")
    }

    pub fn change_config(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.home.config()).unwrap();
        assert!(text.contains(from), "{from}: {text}");
        fs::write(self.home.config(), text.replace(from, to)).unwrap();
    }

    /// Requires that at each of `open` the allowed source gets in and the stranger does not, and that neither gets in
    /// at each of `closed` and at the guarded port.
    pub fn sees(&self, open: &[&str], closed: &[&str]) {
        for to in open {
            self.lets_in(ALLOWED, to);
            self.refuses(STRANGER, to);
        }
        for to in closed.iter().chain(&[GUARDED]) {
            self.refuses(ALLOWED, to);
            self.refuses(STRANGER, to);
        }
    }

    /// Waits until the destinations are as stated; earlier attempts by strangers do not count.
    pub fn until_sees(&self, open: &[&str], closed: &[&str]) {
        let is_so = || {
            let refused = closed.iter().all(|to| !self.gets_in(ALLOWED, to));
            (refused && open.iter().all(|to| self.gets_in(ALLOWED, to))).then_some(())
        };
        eventually(BOUND, &format!("open: {open:?}, closed: {closed:?}"), is_so)
            .unwrap_or_else(|error| panic!("{error:#}\n{:#}", self.status()));
        self.sees(open, closed);
    }

    pub fn lets_in(&self, source: &str, to: &str) {
        let connects = || self.gets_in(source, to).then_some(());
        let explained = || self.home.ask(&["explain", source, to]).unwrap();
        eventually(Duration::from_secs(2), "it connects", connects)
            .unwrap_or_else(|_| panic!("{source} is refused at {to}: {:?}", explained()));
    }

    pub fn refuses(&self, source: &str, to: &str) {
        TRIED.fetch_add(u64::from(source == STRANGER), Ordering::Relaxed);
        let explained = || self.home.ask(&["explain", source, to]).unwrap();
        assert!(!self.gets_in(source, to), "{source} gets in at {to}: {:?}", explained());
    }

    /// Returns whether a TCP connection succeeds.
    pub fn gets_in(&self, source: &str, to: &str) -> bool {
        for listener in &self.listeners {
            while listener.accept().is_ok() {}
        }
        connects(&self.peer, source, to)
    }

    /// Control: without a filter a stranger gets in at every listener.
    pub fn is_open_to_strangers(&self) {
        for to in [E1, E2, GUARDED] {
            let connects = || self.gets_in(STRANGER, to).then_some(());
            eventually(Duration::from_secs(5), &format!("the control: nothing filters {to}"), connects)
                .unwrap();
        }
    }

    /// Simulates a reboot: no agent, nothing pinned. A stranger gets in everywhere.
    pub fn reboot(&self) {
        assert!(self.agent.borrow().is_none(), "an agent runs");
        for pins in fs::read_dir(self.home.pins()).unwrap() {
            fs::remove_dir_all(pins.unwrap().path()).unwrap();
        }
        self.is_open_to_strangers();
    }

    /// Simulates a boot: `restore`, which exits with `code`, then the daemon. From the end of `restore` on, the
    /// destinations must be as stated while strangers try continuously.
    pub fn boot(&self, code: i32, open: &[&str], closed: &[&str]) -> Answer {
        self.reboot();
        let restored = self.home.ask(&["restore", "--wait", "2s"]).unwrap();
        assert_eq!(restored.code, Some(code), "{restored:?}");
        self.sees(open, closed);
        self.beside_strangers(|| self.run());
        self.sees(open, closed);
        restored
    }

    /// Runs `work` while a stranger continuously tries every listener and must be denied.
    pub fn beside_strangers(&self, work: impl FnOnce()) {
        let (peer, ends) = (self.peer.clone(), AtomicBool::new(false));
        thread::scope(|scope| {
            let strangers = scope.spawn(|| {
                let mut in_at = BTreeSet::new();
                while !ends.load(Ordering::Relaxed) {
                    for to in [E1, E2, GUARDED] {
                        TRIED.fetch_add(1, Ordering::Relaxed);
                        if connects(&peer, STRANGER, to) {
                            in_at.insert(to);
                        }
                    }
                }
                in_at
            });
            let worked = catch_unwind(AssertUnwindSafe(work));
            // Ensures at least one round.
            thread::sleep(Duration::from_millis(100));
            ends.store(true, Ordering::Relaxed);
            worked.unwrap_or_else(|panic| resume_unwind(panic));
            assert_eq!(strangers.join().unwrap(), BTreeSet::new(), "a stranger got in");
        });
    }

    /// Waits until an agent of this stage has logged `words`.
    pub fn until_logs(&self, words: &str) {
        eventually(BOUND, words, || (self.logged(words) > 0).then_some(())).unwrap();
    }

    /// Returns how many times the agents of this stage have logged `words`.
    pub fn logged(&self, words: &str) -> usize {
        self.agent.borrow().as_ref().map_or(0, |agent| agent.log().matches(words).count())
    }
}

impl Drop for Stage {
    #[expect(clippy::print_stdout, reason = "shown with the output of the test")]
    fn drop(&mut self) {
        if !thread::panicking() {
            println!("connects that strangers tried so far, all refused: {}", TRIED.load(Ordering::Relaxed));
        }
    }
}

fn connects(from: &Host, source: &str, to: &str) -> bool {
    let client = {
        let _inside = from.enter().unwrap();
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap()
    };
    let address = |text: &str| SockaddrIn::from(text.parse::<std::net::SocketAddrV4>().unwrap());
    bind(client.as_raw_fd(), &address(&format!("{source}:0"))).unwrap();
    // This option also limits connect(2).
    setsockopt(&client, sockopt::SendTimeout, &TimeVal::new(0, PATIENCE_MS * 1_000)).unwrap();
    match connect(client.as_raw_fd(), &address(to)) {
        Ok(()) => true,
        Err(Errno::EINPROGRESS | Errno::EAGAIN) => false,
        Err(error) => panic!("{source} → {to}: {error}"),
    }
}

/// Returns a rule file of `DATABASE` with these endpoints (`ADDRESS:PORT`, or a port alone for every address) that
/// allows these sources.
pub fn rules(revision: u64, endpoints: &[&str], sources: &[&str]) -> String {
    rules_of(DATABASE, revision, endpoints, sources)
}

pub fn rules_of(database: &str, revision: u64, endpoints: &[&str], sources: &[&str]) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|one| match one.split_once(':') {
            Some((address, port)) => format!("  - {{address: {address}, port: {port}}}\n"),
            None => format!("  - {{port: {one}}}\n"),
        })
        .collect();
    let rules = sources.iter().enumerate();
    let rules: Vec<String> =
        rules.map(|(n, one)| format!("  - {{id: r{n}, type: custom_range, cidr: {one}/32}}\n")).collect();
    let head = head(database, revision);
    let rules = if rules.is_empty() { " []\n".to_owned() } else { format!("\n{}", rules.concat()) };
    format!("{head}endpoints:\n{}rules:{rules}...\n", endpoints.concat())
}

/// Returns a rule file that removes the database.
pub fn removed(revision: u64) -> String {
    format!("{}state: removed\n...\n", head(DATABASE, revision))
}

fn head(database: &str, revision: u64) -> String {
    format!(
        "schema_version: 1\ndatabase_id: {database}\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\n"
    )
}
