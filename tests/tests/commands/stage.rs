//! A host with one database of each kind in force.

use std::io::pipe;
use std::process::Command;

use firewall_tests::lab::{Agent, AgentHome, Answer, Host, Lab, Settings, User, agent_binary};
use serde_json::Value;

pub const INTERFACE: &str = "eth0";
pub const ORDERS: &str = "orders";
pub const WIDE: &str = "wide";
pub const WATCHED: &str = "watched";
pub const GONE: &str = "gone";

pub struct Stage {
    pub agent: Option<Agent>,
    pub home: AgentHome,
    pub db: Host,
    pub outside: Host,
    _lab: Lab,
}

impl Stage {
    /// Returns a host with a running agent: all databases but the removed `gone` in force, a broken file rejected.
    pub fn new() -> Self {
        let program = agent_binary().unwrap();
        let lab = Lab::new().unwrap();
        let (db, outside) = (lab.host("db").unwrap(), lab.host("outside").unwrap());
        lab.link(db.end(INTERFACE, &["192.0.2.10/24", "2001:db8:2::10/64"]), outside.end(INTERFACE, &[]))
            .unwrap();
        let settings = Settings {
            interfaces: &[INTERFACE],
            xdp_mode: "native",
            guarded_ports: &["5432", "30000-32767"],
            more: "allow_monitor: true\n",
        };
        let home = AgentHome::new(&lab, &db, &program, User::Unprivileged, &settings).unwrap();
        home.write_ranges(RANGES).unwrap();
        for (id, rest) in
            [(ORDERS, ORDERS_FILE), (WIDE, WIDE_FILE), (WATCHED, WATCHED_FILE), (GONE, GONE_FILE)]
        {
            home.write_rules(&format!("{id}.yaml"), &rule_file(id, 1, rest)).unwrap();
        }
        let mut agent = home.start().unwrap();
        for id in [ORDERS, WIDE, WATCHED, GONE] {
            agent.wait_for_revision(&home, id, 1).unwrap();
        }
        home.write_rules("gone.yaml", &rule_file(GONE, 2, &format!("state: removed\n{GONE_FILE}"))).unwrap();
        home.write_rules("broken.yaml", &rule_file("broken", 1, BROKEN_FILE)).unwrap();
        agent
            .wait_until("gone has left, and the broken file is refused", || {
                home.status().is_ok_and(|status| {
                    status.revision(GONE).is_none() && status.0["rejected_files"][0]["path"].is_string()
                })
            })
            .unwrap();
        Self { agent: Some(agent), home, db, outside, _lab: lab }
    }

    pub fn ask(&self, arguments: &[&str]) -> Answer {
        self.home.ask(arguments).unwrap()
    }

    /// Returns the JSON that a command prints.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let answer = self.ask(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&answer.out).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    pub fn kill_agent(&mut self) {
        self.agent.take().unwrap().kill().unwrap();
    }
}

/// Runs the program on a machine without an agent.
pub fn alone(arguments: &[&str]) -> Answer {
    answer(Command::new(agent_binary().unwrap()).args(arguments))
}

/// Returns output and exit code of a command.
pub fn answer(command: &mut Command) -> Answer {
    let out = command.output().unwrap();
    Answer {
        code: out.status.code(),
        out: String::from_utf8(out.stdout).unwrap(),
        err: String::from_utf8(out.stderr).unwrap(),
    }
}

/// Runs the command with a stdout that has no reader.
pub fn into_closed_pipe(mut command: Command) -> Answer {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    answer(command.stdout(writer))
}

pub const RANGES: &str = "\
schema_version: 1
revision: 1
generated_at: 2026-08-21T15:27:32Z
ranges:
  - {id: man-example, name: Example region, cidrs: [198.51.100.7/32, '2001:db8:4::7/128']}
...
";

const ORDERS_FILE: &str = "\
name: Orders
endpoints:
  - {address: 192.0.2.10, port: 30092}
  - {address: '2001:db8:2::10', port: 30092}
  - {address: '2001:db8:2::10', port: 30092, protocol: udp}
rules:
  - {id: fr-1, type: custom_range, cidr: 203.0.113.0/24, label: Office network}
  - {id: fr-2, type: managed_range, range_id: man-example}
internal_ranges:
  - {cidr: 10.231.23.0/24, label: cluster nodes}
";

const WIDE_FILE: &str = "\
endpoints:
  - {port: 30100}
rules:
  - {id: fr-1, type: custom_range, cidr: 203.0.113.0/25}
  - {id: fr-2, type: custom_range, cidr: '2001:db8:4::/48'}
";

const WATCHED_FILE: &str = "\
mode: monitor
endpoints:
  - {address: 192.0.2.10, port: 30200}
rules:
  - {id: fr-1, type: custom_range, cidr: 203.0.113.0/24}
";

const GONE_FILE: &str = "\
endpoints:
  - {address: 192.0.2.10, port: 20300}
rules: []
";

const BROKEN_FILE: &str = "\
endpoints:
  - {address: 192.0.2.10, port: 30400}
rules:
  - {id: fr-1, type: custom_range, cidr: 203.0.113.300/24}
";

pub fn rule_file(id: &str, revision: u64, rest: &str) -> String {
    format!(
        "schema_version: 1\ndatabase_id: {id}\nrevision: {revision}\n\
         generated_at: 2026-08-21T15:27:32Z\n{rest}...\n"
    )
}
