//! A database host with listeners on unguarded ports, real connections from an allowed source and from strangers, and a
//! simulated boot.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use firewall_tests::lab::{Answer, OnHost, RuleFile, TestHost, connects, eventually};

/// Unguarded, with a listener.
pub const E1: &str = "10.77.0.1:8080";
pub const E2: &str = "10.77.0.11:8080";
/// Guarded, with a listener.
pub const GUARDED: &str = "10.77.0.1:5432";
pub const ALLOWED: &str = "10.77.0.3";
pub const STRANGER: &str = "10.77.0.2";
pub const RULE_FILE: &str = "a.yaml";
pub const DATABASE: &str = "a";

/// Returns a host without an agent; `more` are further config lines. A stranger gets in everywhere.
pub fn unfiltered(more: &str) -> TestHost {
    let host = TestHost::builder()
        .servers(&["10.77.0.1/24", "10.77.0.11/24"])
        .clients(&["10.77.0.2/24", "10.77.0.3/24", "10.77.0.4/24", "10.77.0.5/24"])
        .listeners(&[E1, E2, GUARDED])
        .guarded_ports(&["5432"])
        .config(more)
        .build();
    host.is_open_to_strangers();
    host
}

/// Checks by real connections.
pub trait Connections: OnHost {
    /// Starts the agent and waits until it has written its status, or answers where there is no room for a status.
    fn run(&self) {
        let (host, agent) = (self.host(), self.host().home.start().unwrap());
        let pid = u64::from(agent.pid());
        host.own_once(agent, || {
            let Ok(status) = host.home.status() else { return false };
            let is_missing = status["errors"].to_string().contains("cannot read the daemon's status");
            status["agent"]["pid"] == pid || is_missing && host.ask(&["health"]).code == Some(0)
        });
    }

    /// Requires that at each of `open` the allowed source gets in and the stranger does not, and that neither gets in
    /// at each of `closed` and at the guarded port.
    fn sees(&self, open: &[&str], closed: &[&str]) {
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
    fn until_sees(&self, open: &[&str], closed: &[&str]) {
        let host = self.host();
        host.eventually(&format!("open: {open:?}, closed: {closed:?}"), || {
            let refused = closed.iter().all(|to| !host.connects(ALLOWED, to));
            refused && open.iter().all(|to| host.connects(ALLOWED, to))
        });
        self.sees(open, closed);
    }

    fn lets_in(&self, source: &str, to: &str) {
        let connects = || self.host().connects(source, to).then_some(());
        eventually(Duration::from_secs(2), "it connects", connects).unwrap_or_else(|_| {
            panic!("{source} is refused at {to}: {:?}", self.host().ask(&["explain", source, to]))
        });
    }

    fn refuses(&self, source: &str, to: &str) {
        let explained = || self.host().ask(&["explain", source, to]);
        assert!(!self.host().connects(source, to), "{source} gets in at {to}: {:?}", explained());
    }

    /// Control: without a filter a stranger gets in at every listener.
    fn is_open_to_strangers(&self) {
        for to in [E1, E2, GUARDED] {
            let what = format!("the control: nothing filters {to}");
            self.host().eventually(&what, || self.host().connects(STRANGER, to));
        }
    }

    /// Simulates a reboot: no agent, nothing pinned. A stranger gets in everywhere.
    fn reboot(&self) {
        self.host().remove_pins();
        self.is_open_to_strangers();
    }

    /// Simulates a boot: `restore`, which exits with `code`, then the daemon. From the end of `restore` on, the
    /// destinations must be as stated while strangers try continuously.
    fn boot(&self, code: i32, open: &[&str], closed: &[&str]) -> Answer {
        self.reboot();
        let restored = self.host().ask(&["restore", "--wait", "2s"]);
        assert_eq!(restored.code, Some(code), "{restored:?}");
        self.sees(open, closed);
        self.beside_strangers(|| self.run());
        self.sees(open, closed);
        restored
    }

    /// Runs `work` while a stranger continuously tries every listener and must be denied.
    fn beside_strangers(&self, work: impl FnOnce()) {
        let (outside, ends) = (self.host().outside.clone(), AtomicBool::new(false));
        thread::scope(|scope| {
            let strangers = scope.spawn(|| {
                let mut in_at = BTreeSet::<&str>::new();
                while !ends.load(Ordering::Relaxed) {
                    in_at.extend([E1, E2, GUARDED].iter().filter(|to| connects(&outside, STRANGER, to)));
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

    /// Waits until an agent of this host has logged `words`.
    fn until_logs(&self, words: &str) {
        self.host().eventually(words, || self.logged(words) > 0);
    }

    /// Returns the number of times that agents of this host have logged `words`.
    fn logged(&self, words: &str) -> usize {
        self.host().log().matches(words).count()
    }
}

impl Connections for TestHost {}

/// Returns a rule file of `DATABASE` with these endpoints (`ADDRESS:PORT`, or a port alone for every address) that
/// allows these sources.
pub fn rules(revision: u64, endpoints: &[&str], sources: &[&str]) -> RuleFile {
    rules_of(DATABASE, revision, endpoints, sources)
}

pub fn rules_of(database: &str, revision: u64, endpoints: &[&str], sources: &[&str]) -> RuleFile {
    let file = endpoints.iter().fold(RuleFile::new(database, revision), |file, one| file.endpoint(one));
    sources.iter().fold(file, |file, one| file.allow(&format!("{one}/32")))
}

/// Returns a rule file that removes the database.
pub fn removed(revision: u64) -> RuleFile {
    RuleFile::new(DATABASE, revision).removed()
}
