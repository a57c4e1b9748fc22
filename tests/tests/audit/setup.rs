//! A host with one endpoint, guarded ports, a filtered interface, and no bypass.

use std::collections::BTreeSet;

use firewall_tests::lab::{Answer, OnHost, RuleFile, TestHost, User};
use serde_json::Value;

/// The result of one audit.
#[derive(Debug)]
pub struct Findings {
    pub code: Option<i32>,
    /// Kind and object.
    pub bypasses: BTreeSet<(String, String)>,
    /// Objects of the findings that the socket filter covers.
    pub covered: BTreeSet<String>,
    /// Facts that the audit could not read.
    pub unchecked: Vec<String>,
}

impl Findings {
    /// The kinds, each once.
    pub fn kinds(&self) -> Vec<&str> {
        let kinds: BTreeSet<&str> = self.bypasses.iter().map(|(kind, _)| kind.as_str()).collect();
        kinds.into_iter().collect()
    }
}

/// Returns a host on which the endpoint is in force and the agent has stopped.
pub fn filtered(user: User) -> TestHost {
    let host = TestHost::builder()
        .user(user)
        .servers(&["192.0.2.10/24"])
        .rules(RuleFile::new("orders", 1).endpoint("192.0.2.10:20300"))
        .start();
    host.until_revision("orders", 1);
    host.until("eth0 is filtered", |status| status["interfaces"][0]["mode"] == "native");
    host.stop();
    host
}

pub trait Audit: OnHost {
    fn audit_answer(&self, arguments: &[&str]) -> Answer {
        self.host().ask(&[&["audit"], arguments].concat())
    }

    /// The only finding of a kind.
    fn finding(&self, kind: &str) -> Value {
        let answer = self.audit_answer(&["-o", "json"]);
        let json: Value = serde_json::from_str(&answer.out).unwrap();
        let mut of_kind = json["findings"].as_array().unwrap().iter().filter(|one| one["kind"] == kind);
        let finding = of_kind.next().unwrap_or_else(|| panic!("{kind}: {json:#}")).clone();
        assert_eq!(of_kind.count(), 0, "{kind}: {json:#}");
        finding
    }

    fn audit(&self, arguments: &[&str]) -> Findings {
        findings(&self.audit_answer(&[arguments, &["-o", "json"]].concat()))
    }
}

impl Audit for TestHost {}

pub fn findings(answer: &Answer) -> Findings {
    let json: Value = serde_json::from_str(&answer.out).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = |name: &str| json[name].as_array().unwrap().clone();
    Findings {
        code: answer.code,
        bypasses: rows("findings").iter().map(|row| (text(row, "kind"), text(row, "object"))).collect(),
        covered: rows("findings")
            .iter()
            .filter(|row| row["socket_filter_covers"] == true)
            .map(|row| text(row, "object"))
            .collect(),
        unchecked: rows("unchecked").iter().map(|row| text(row, "fact")).collect(),
    }
}
