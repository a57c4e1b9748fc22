//! A host with one endpoint, guarded ports, a filtered interface, and no bypass.

use std::collections::BTreeSet;

use firewall_tests::lab::{AgentHome, Answer, Host, Lab, Settings, User, agent_binary};
use serde_json::Value;

pub struct Stage {
    pub home: AgentHome,
    pub db: Host,
    _lab: Lab,
}

/// The result of one audit.
#[derive(Debug)]
pub struct Seen {
    pub code: Option<i32>,
    /// Kind and object.
    pub ways: BTreeSet<(String, String)>,
    /// Facts that the audit could not read.
    pub unseen: Vec<String>,
}

impl Stage {
    /// Returns a host on which the endpoint is in force and the agent has stopped.
    pub fn new(user: User) -> Self {
        let program = agent_binary().unwrap();
        let lab = Lab::new().unwrap();
        let (db, outside) = (lab.host("db").unwrap(), lab.host("outside").unwrap());
        lab.link(db.end("eth0", &["192.0.2.10/24"]), outside.end("eth0", &[])).unwrap();
        let settings = Settings {
            interfaces: &["eth0"],
            xdp_mode: "native",
            guarded_ports: &["5432", "30000-32767"],
            more: "",
        };
        let home = AgentHome::new(&lab, &db, &program, user, &settings).unwrap();
        home.write_rules("orders.yaml", RULES).unwrap();
        let mut agent = home.start().unwrap();
        agent.wait_for_revision(&home, "orders", 1).unwrap();
        let attached = || home.status().is_ok_and(|status| status.0["interfaces"][0]["mode"] == "native");
        agent.wait_until("eth0 is filtered", attached).unwrap();
        agent.terminate().unwrap();
        Self { home, db, _lab: lab }
    }

    pub fn ask(&self, arguments: &[&str]) -> Answer {
        self.home.ask(&[&["audit"], arguments].concat()).unwrap()
    }

    pub fn audit(&self, arguments: &[&str]) -> Seen {
        seen(&self.ask(&[arguments, &["-o", "json"]].concat()))
    }
}

pub fn seen(answer: &Answer) -> Seen {
    let json: Value = serde_json::from_str(&answer.out).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = |name: &str| json[name].as_array().unwrap().clone();
    Seen {
        code: answer.code,
        ways: rows("ways").iter().map(|row| (text(row, "kind"), text(row, "object"))).collect(),
        unseen: rows("not_looked_at").iter().map(|row| text(row, "what")).collect(),
    }
}

const RULES: &str = "\
schema_version: 1
database_id: orders
revision: 1
generated_at: 2026-08-21T15:27:32Z
endpoints:
  - {address: 192.0.2.10, port: 20300}
rules: []
...
";
