//! An agent with a faked clock: libfaketime fakes its wall clock, and strace the kernel's synchronisation state.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use firewall_tests::lab::{Answer, TestHost, eventually, process_status, wall_clock};
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::setup::{IN_OFFICE, IN_SHOP, SHOP, builder, file};
use crate::strace::Injected;

/// A host with an agent under a faked clock.
pub struct Faked {
    pub host: TestHost,
    /// File with the offset of the wall clock; libfaketime reads it at every call.
    offset: PathBuf,
    /// A tracer attached to the running agent.
    synchronised: Option<Injected>,
}

impl Faked {
    /// Returns a host without a stored clock mark and without a running agent.
    pub fn new() -> Self {
        let host = builder().build();
        let offset = host.home.config().with_file_name("offset");
        Self { host, offset, synchronised: None }
    }

    pub fn set(&self, ahead: SignedDuration) {
        fs::write(&self.offset, format!("{:+}\n", ahead.as_secs())).unwrap();
    }

    /// Returns the wrapper command for the agent.
    fn front(&self, synchronised: bool) -> String {
        // adjtimex(2) returns TIME_ERROR where the clock is not synchronised; an injected result leaves `status` at 0.
        let answer = if synchronised { libc::TIME_OK } else { libc::TIME_ERROR };
        // With `-D` the tracer is a grandchild: the started process becomes the agent.
        let strace = format!("strace -D -I 2 -f -qq -o /dev/null -e inject=adjtimex:retval={answer}");
        let variables = wall_clock(&self.offset).unwrap();
        format!("{strace} -e trace=adjtimex -E {}", variables.join(" -E "))
    }

    pub fn start(&mut self, ahead: SignedDuration, synchronised: bool) {
        self.set(ahead);
        self.host.own(self.host.home.start_by(&self.front(synchronised), &[]).unwrap());
    }

    pub fn stop(&mut self) {
        self.synchronised = None;
        self.host.stop();
    }

    /// Makes the kernel report the clock of the running agent as synchronised, from now on.
    pub fn synchronise(&mut self) {
        let pid = self.host.pid();
        let tracer = || process_status(pid).unwrap().tracerpid;
        kill(Pid::from_raw(tracer()), Signal::SIGTERM).unwrap();
        eventually(Duration::from_secs(10), "the tracer lets go", || (tracer() == 0).then_some(())).unwrap();
        self.synchronised = Some(Injected::into(pid, "adjtimex", "retval=0"));
    }

    /// Runs a command of the agent under the same clock.
    pub fn ask(&self, synchronised: bool, arguments: &[&str]) -> Answer {
        self.host.home.ask_by(&self.front(synchronised), arguments).unwrap()
    }

    pub fn clock(&self, synchronised: bool) -> Value {
        let answer = self.ask(synchronised, &["clock", "-o", "json"]);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        serde_json::from_str(&answer.out).unwrap()
    }

    /// Pushes a revision generated `age` ago by the real clock, which allows the office for `lasts`.
    pub fn push(&self, revision: u64, age: SignedDuration, lasts: SignedDuration) {
        let until = Timestamp::now() + lasts;
        let office = format!("id: fr-1, type: custom_range, cidr: 203.0.113.0/24, expires_at: '{until}'");
        self.write("a", revision, "192.0.2.1", age, &[&office, SHOP]);
    }

    pub fn write(&self, database: &str, revision: u64, address: &str, age: SignedDuration, rules: &[&str]) {
        let text = file(database, revision, address, rules);
        let text = text.replace("2026-08-21T15:27:32Z", &(Timestamp::now() - age).to_string());
        self.host.write(&format!("{database}.yaml"), &text);
        self.host.until_revision(database, revision);
    }

    /// Waits until the office gets this verdict; the shop is always allowed.
    pub fn until_office_is(&self, reason: &str) {
        let what = format!("the office is {reason}");
        self.host.until(&what, |_| self.host.reason(IN_OFFICE, "a") == reason);
        assert_eq!(self.host.reason(IN_SHOP, "a"), "allowed");
    }

    /// Waits until the status reports this clock condition, or none.
    pub fn until_condition(&self, condition: Option<&str>) {
        self.host.until(&format!("{condition:?} is reported"), |status| {
            let errors = status["errors"].to_string();
            condition.map_or(!errors.contains("clock "), |condition| errors.contains(condition))
        });
    }
}
