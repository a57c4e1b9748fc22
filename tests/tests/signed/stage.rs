//! A host with an agent that trusts keys, and minisign to sign.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use firewall_tests::lab::{Agent, AgentHome, Host, Lab, Settings, User, agent_binary};

pub const FILE: &str = "orders.yaml";
pub const DATABASE: &str = "orders";
/// Allowed by the rules of odd revisions, and of even ones.
pub const SOURCES: [&str; 2] = ["203.0.113.7", "198.51.100.7"];

pub struct Stage {
    pub home: AgentHome,
    pub lab: Lab,
    db: Host,
}

/// A key pair.
pub struct Key {
    dir: PathBuf,
    name: &'static str,
    /// The public key, as in a configuration.
    pub public: String,
}

impl Stage {
    /// Creates the host without an agent; `trusting` configures one.
    pub fn new() -> Self {
        let lab = Lab::new().unwrap();
        let (db, outside) = (lab.host("db").unwrap(), lab.host("outside").unwrap());
        lab.link(db.end("eth0", &["192.0.2.10/24"]), outside.end("eth0", &[])).unwrap();
        let settings =
            Settings { interfaces: &["eth0"], xdp_mode: "native", guarded_ports: &["5432"], more: "" };
        let home =
            AgentHome::new(&lab, &db, &agent_binary().unwrap(), User::Unprivileged, &settings).unwrap();
        Self { home, lab, db }
    }

    pub fn key(&self, name: &'static str) -> Key {
        let dir = self.lab.dir().to_owned();
        minisign(&dir, &["-G", "-W", "-p", &format!("{name}.pub"), "-s", &format!("{name}.sec")]);
        let public = fs::read_to_string(dir.join(format!("{name}.pub"))).unwrap();
        Key { public: public.lines().last().unwrap().to_owned(), dir, name }
    }

    /// Starts an agent that trusts these keys and no others.
    pub fn trusting(&self, keys: &[&Key]) -> Agent {
        let keys: Vec<&str> = keys.iter().map(|key| key.public.as_str()).collect();
        let config = fs::read_to_string(self.home.config()).unwrap();
        let rest: String =
            config.split_inclusive('\n').filter(|line| !line.starts_with("trusted_keys")).collect();
        fs::write(self.home.config(), format!("{rest}trusted_keys: [{}]\n", keys.join(", "))).unwrap();
        self.home.start().unwrap()
    }

    /// Publishes a signature and then its file.
    pub fn push(&self, text: &str, signature: Option<&str>) {
        self.sign_only(signature);
        self.home.write_rules(FILE, text).unwrap();
    }

    pub fn sign_only(&self, signature: Option<&str>) {
        let path = format!("{FILE}.minisig");
        match signature {
            Some(signature) => drop(self.home.write_rules(&path, signature).unwrap()),
            None if self.home.rule_file(&path).exists() => self.home.remove_rules(&path).unwrap(),
            None => {}
        }
    }

    /// Waits until the agent has seen the current files; `mark` must be new in each call.
    pub fn wait_until_seen(&self, agent: &mut Agent, mark: &str) {
        let name = format!("{}.yaml", mark.replace([' ', '\''], "-"));
        self.home.write_rules(&name, "no rule file\n").unwrap();
        let seen = || self.home.status().is_ok_and(|status| status.0.to_string().contains(&name));
        agent.wait_until(&format!("{name} was seen"), seen).unwrap();
        self.home.remove_rules(&name).unwrap();
    }

    /// Waits until the file is rejected for a reason that contains `reason`.
    pub fn wait_for_refusal(&self, agent: &mut Agent, reason: &str) {
        let refused = || {
            self.home.status().is_ok_and(|status| {
                status.state(DATABASE) == Some("rejected")
                    && status.0["rejected_files"].to_string().contains(reason)
            })
        };
        agent.wait_until(&format!("refused: {reason}"), refused).unwrap();
    }

    /// Requires that this revision is in force, by the status and by the verdicts.
    pub fn is_in_force(&self, revision: u64) {
        let status = self.home.status().unwrap();
        assert_eq!(status.revision(DATABASE), Some(revision), "{status:?}");
        for (source, odd) in SOURCES.into_iter().zip([true, false]) {
            let answer = self.home.ask(&["explain", source, DATABASE]).unwrap();
            let passes = (revision % 2 == 1) == odd;
            assert_eq!(answer.code, Some(if passes { 0 } else { 3 }), "{source}: {answer:?}");
        }
    }

    pub fn host_name(&self) -> &str {
        self.db.name()
    }
}

impl Key {
    /// Signs these bytes.
    pub fn sign(&self, text: &str) -> String {
        fs::write(self.dir.join("message"), text).unwrap();
        minisign(&self.dir, &["-S", "-W", "-s", &format!("{}.sec", self.name), "-m", "message"]);
        fs::read_to_string(self.dir.join("message.minisig")).unwrap()
    }
}

fn minisign(dir: &Path, arguments: &[&str]) {
    let out = Command::new("minisign").args(arguments).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "minisign {arguments:?}: {out:?}");
}

/// Returns a rule file that allows another source in odd revisions than in even ones.
pub fn rules(revision: u64) -> String {
    rules_for(revision, "")
}

pub fn rules_for(revision: u64, more: &str) -> String {
    let source = SOURCES[usize::from(revision.is_multiple_of(2))];
    format!(
        "schema_version: 1\ndatabase_id: {DATABASE}\nrevision: {revision}\n\
         generated_at: 2026-08-21T15:27:32Z\n{more}endpoints:\n  - {{address: 192.0.2.10, port: 5432}}\n\
         rules:\n  - {{id: fr-1, type: custom_range, cidr: {source}/32}}\n...\n"
    )
}
