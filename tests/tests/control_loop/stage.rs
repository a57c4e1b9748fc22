//! A database host with a running agent. It needs no packets: the tests query the kernel.

use std::fs;
use std::time::Duration;

use firewall_tests::lab::{Agent, AgentHome, Answer, Host, Lab, Settings, User, agent_binary, eventually};
use serde_json::Value;

pub const PORT: u16 = 30_092;
/// A rescan interval so long that only file events bring a change in time, and a propagation window that soon ends.
const NO_RESCAN: &str = "rescan_interval: 1h\npropagation_window: 2s\n";

pub struct Stage {
    agent: Option<Agent>,
    pub home: AgentHome,
    _db: Host,
    _lab: Lab,
}

impl Stage {
    pub fn new() -> Self {
        let mut stage = Self::without_agent(User::Unprivileged);
        stage.start();
        stage
    }

    /// Returns a host on which no agent has run.
    pub fn stopped() -> Self {
        Self::without_agent(User::Unprivileged)
    }

    pub fn without_agent(user: User) -> Self {
        let lab = Lab::new().unwrap();
        let db = lab.host("db").unwrap();
        let settings = Settings {
            interfaces: &["eth0"],
            xdp_mode: "native",
            guarded_ports: &["5432", "30000-32767"],
            more: NO_RESCAN,
        };
        let home = AgentHome::new(&lab, &db, &agent_binary().unwrap(), user, &settings).unwrap();
        Self { agent: None, home, _db: db, _lab: lab }
    }

    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    pub fn start_with(&mut self, flags: &[&str]) {
        let agent = self.home.start_with(flags).unwrap();
        self.take(agent);
    }

    /// As `start`, with further environment variables.
    pub fn start_in(&mut self, environment: &[(&str, &str)]) {
        let agent = self.home.start_in(environment).unwrap();
        self.take(agent);
    }

    /// As `start`, through a wrapper command.
    pub fn start_by(&mut self, front: &[String]) {
        let agent = self.home.start_by(front).unwrap();
        self.take(agent);
    }

    /// As `start`, with the log to `log`.
    pub fn start_into(&mut self, log: fs::File) {
        let agent = self.home.start_into(log, &[]).unwrap();
        self.take(agent);
    }

    fn take(&mut self, mut agent: Agent) {
        let pid = u64::from(agent.pid());
        let runs = || self.home.status().is_ok_and(|status| status.0["agent"]["pid"].as_u64() == Some(pid));
        agent.wait_until("the agent runs", runs).unwrap();
        self.agent = Some(agent);
    }

    pub fn stop(&mut self) {
        self.agent.take().unwrap().terminate().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.agent.as_ref().unwrap().pid()
    }

    /// Returns everything that the agents of this stage have logged.
    pub fn log(&self) -> String {
        self.agent.as_ref().unwrap().log()
    }

    pub fn kill(&mut self) {
        self.agent.take().unwrap().kill().unwrap();
    }

    /// Empties bpffs, as a reboot does; the agent must not run.
    pub fn forget_kernel(&self) {
        for entry in fs::read_dir(self.home.pins()).unwrap() {
            fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
    }

    pub fn write(&self, name: &str, text: &str) {
        self.home.write_rules(name, text).unwrap();
    }

    /// Waits until `is_so` returns `true`, at most ten seconds.
    pub fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let status = eventually(Duration::from_secs(10), what, || {
            let status = self.home.status().ok()?.0;
            is_so(&status).then_some(status)
        });
        status.unwrap_or_else(|error| {
            let log = self.agent.as_ref().map(Agent::log).unwrap_or_default();
            panic!("{error:#}\n{:#}\n{log}", self.home.status().unwrap().0)
        })
    }

    pub fn until_revision(&self, database: &str, revision: u64) -> Value {
        self.until(&format!("{database} at revision {revision}"), |status| {
            let one = one(status, database);
            one["revision"] == revision && one["endpoints"] != serde_json::json!([])
        })
    }

    pub fn until_state(&self, database: &str, state: &str) -> Value {
        self.until(&format!("{database} is {state}"), |status| one(status, database)["state"] == state)
    }

    /// Waits until a file is rejected with these words.
    pub fn until_refused(&self, words: &str) -> Value {
        self.until(&format!("a refusal: {words}"), |status| {
            status["rejected_files"].to_string().contains(words)
        })
    }

    /// Returns the kernel's reason for a packet.
    pub fn reason(&self, source: &str, target: &str) -> String {
        self.json(&["explain", source, target])[0]["reason"].as_str().unwrap().to_owned()
    }

    /// Returns the JSON that a command prints.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let answer = self.ask(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&answer.out).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    pub fn ask(&self, arguments: &[&str]) -> Answer {
        self.home.ask(arguments).unwrap()
    }
}

/// Returns the database's part of a status.
pub fn one<'a>(status: &'a Value, database: &str) -> &'a Value {
    let databases = status["databases"].as_array().map(Vec::as_slice).unwrap_or_default();
    databases.iter().find(|one| one["database_id"] == database).unwrap_or(&Value::Null)
}

/// Returns a rule file with one TCP endpoint at `address`, or at any address if it is empty, and these rules.
pub fn file(database: &str, revision: u64, address: &str, rules: &[&str]) -> String {
    let rules: Vec<String> = rules.iter().map(|rule| format!("  - {{{rule}}}\n")).collect();
    format!(
        "schema_version: 1\ndatabase_id: {database}\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\n\
         endpoints:\n  - {{address: {address}, port: {PORT}}}\nrules:{}{}\n...\n",
        if rules.is_empty() { " []" } else { "\n" },
        rules.concat()
    )
}

pub fn removed(database: &str, revision: u64) -> String {
    format!(
        "schema_version: 1\ndatabase_id: {database}\nrevision: {revision}\n\
         generated_at: 2026-08-21T15:27:32Z\nstate: removed\n...\n"
    )
}

pub const OFFICE: &str = "id: fr-1, type: custom_range, cidr: 203.0.113.0/24";
pub const SHOP: &str = "id: fr-2, type: custom_range, cidr: 198.51.100.0/24";
pub const EGRESS: &str = "id: fr-3, type: managed_range, range_id: man-egress";
pub const IN_OFFICE: &str = "203.0.113.9";
pub const IN_SHOP: &str = "198.51.100.9";
