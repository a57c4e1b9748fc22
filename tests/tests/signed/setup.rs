//! A host with an agent that trusts keys, and minisign to sign.

use std::fs;

use firewall_tests::lab::{Key, OnHost, RuleFile, TestHost, database_of};

pub const FILE: &str = "orders.yaml";
pub const DATABASE: &str = "orders";
/// Allowed by the rules of odd revisions, and of even ones.
pub const SOURCES: [&str; 2] = ["203.0.113.7", "198.51.100.7"];

/// Returns the host without an agent; `trusting` configures one.
pub fn unsigned() -> TestHost {
    TestHost::builder().guarded_ports(&["5432"]).build()
}

/// Keys, signed files, and an agent that accepts no others.
pub trait Signing: OnHost {
    fn key(&self, name: &str) -> Key {
        Key::create(self.host().lab.dir(), name).unwrap()
    }

    /// Starts an agent that trusts these keys and no others.
    fn trusting(&self, keys: &[&Key]) {
        let keys: Vec<&str> = keys.iter().map(|key| key.public.as_str()).collect();
        let config = self.host().home.config();
        let text = fs::read_to_string(&config).unwrap();
        let rest: String =
            text.split_inclusive('\n').filter(|line| !line.starts_with("trusted_keys")).collect();
        fs::write(config, format!("{rest}trusted_keys: [{}]\n", keys.join(", "))).unwrap();
        self.host().start();
    }

    /// Publishes a signature and then its file.
    fn push_signed(&self, text: &str, signature: Option<&str>) {
        self.sign_only(signature);
        self.host().write(FILE, text);
    }

    fn sign_only(&self, signature: Option<&str>) {
        let path = format!("{FILE}.minisig");
        match signature {
            Some(signature) => self.host().write(&path, signature),
            None if self.host().home.rule_file(&path).exists() => {
                self.host().home.remove_rules(&path).unwrap();
            }
            None => {}
        }
    }

    /// Waits until the agent has read the current files; `mark` must be new in each call.
    fn until_seen(&self, mark: &str) {
        let name = format!("{}.yaml", mark.replace([' ', '\''], "-"));
        self.host().write(&name, "no rule file\n");
        self.host().until(&format!("{name} was read"), |status| status.to_string().contains(&name));
        self.host().home.remove_rules(&name).unwrap();
    }

    /// Waits until the file is rejected for a reason that contains `reason`.
    fn until_refused(&self, reason: &str) {
        self.host().until(&format!("rejected: {reason}"), |status| {
            database_of(status, DATABASE)["state"] == "rejected"
                && status["rejected_files"].to_string().contains(reason)
        });
    }

    /// Requires that this revision is in force, by the status and by the verdicts.
    fn is_in_force(&self, revision: u64) {
        let status = self.host().status();
        assert_eq!(database_of(&status, DATABASE)["revision"], revision, "{status}");
        for (source, odd) in SOURCES.into_iter().zip([true, false]) {
            let answer = self.host().ask(&["explain", source, DATABASE]);
            let passes = (revision % 2 == 1) == odd;
            assert_eq!(answer.code, Some(if passes { 0 } else { 3 }), "{source}: {answer:?}");
        }
    }
}

impl Signing for TestHost {}

/// Returns a rule file that allows another source in odd revisions than in even ones.
pub fn rules(revision: u64) -> String {
    file(revision).to_string()
}

pub fn rules_for(revision: u64, host: &str) -> String {
    file(revision).field(&format!("host: {host}")).to_string()
}

fn file(revision: u64) -> RuleFile {
    let source = SOURCES[usize::from(revision.is_multiple_of(2))];
    RuleFile::new(DATABASE, revision).endpoint("192.0.2.10:5432").allow(&format!("{source}/32"))
}
