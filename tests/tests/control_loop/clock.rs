//! Wrong clocks: the wall clock of one agent is faked, and so is the kernel's word on whether it is synchronised.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firewall_tests::lab::{Answer, eventually};
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::stage::{IN_OFFICE, IN_SHOP, SHOP, Stage, file};
use crate::strace::Injected;

const HOURS: fn(i64) -> SignedDuration = SignedDuration::from_hours;
const DAY: i64 = 24;
const YEAR: i64 = 365 * DAY;

/// A stage whose agent lives by another clock.
struct Faked {
    stage: Stage,
    /// Holds the offset of the wall clock; read at every look at the clock.
    offset: PathBuf,
    /// Of a tracer that is attached to the running agent.
    synchronised: Option<Injected>,
}

impl Faked {
    /// A host without a stored mark: no agent runs.
    fn new() -> Self {
        let stage = Stage::stopped();
        let offset = stage.home.config().with_file_name("offset");
        Self { stage, offset, synchronised: None }
    }

    fn set(&self, ahead: SignedDuration) {
        fs::write(&self.offset, format!("{:+}\n", ahead.as_secs())).unwrap();
    }

    /// A command in front of the agent's.
    fn front(&self, synchronised: bool) -> Vec<String> {
        // adjtimex(2) answers TIME_ERROR where the clock is not synchronised; the state of an answer that is made up is 0.
        let answer = if synchronised { libc::TIME_OK } else { libc::TIME_ERROR };
        let inject = format!("inject=adjtimex:retval={answer}");
        // The tracer is no parent: the process that is started is the agent's.
        let mut front = vec![
            "strace",
            "-D",
            "-I",
            "2",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=adjtimex",
            "-e",
            &inject,
        ]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
        for variable in [
            format!("LD_PRELOAD={}", library().display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.offset.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "DONT_FAKE_MONOTONIC=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ] {
            front.extend(["-E".to_owned(), variable]);
        }
        front
    }

    fn start(&mut self, ahead: SignedDuration, synchronised: bool) {
        self.set(ahead);
        let front = self.front(synchronised);
        self.stage.start_by(&front);
    }

    fn stop(&mut self) {
        self.synchronised = None;
        self.stage.stop();
    }

    /// From now on the kernel calls the clock of the running agent synchronised.
    fn synchronise(&mut self) {
        let pid = self.stage.pid();
        let tracer = || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let field = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap();
            field.trim().parse::<i32>().unwrap()
        };
        kill(Pid::from_raw(tracer()), Signal::SIGTERM).unwrap();
        eventually(Duration::from_secs(10), "the tracer lets go", || (tracer() == 0).then_some(())).unwrap();
        self.synchronised = Some(Injected::into(pid, "adjtimex", "retval=0"));
    }

    /// A command of the agent's under the same clock.
    fn ask(&self, synchronised: bool, arguments: &[&str]) -> Answer {
        self.stage.home.ask_by(&self.front(synchronised), arguments).unwrap()
    }

    fn clock(&self, synchronised: bool) -> Value {
        let answer = self.ask(synchronised, &["clock", "-o", "json"]);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        serde_json::from_str(&answer.out).unwrap()
    }

    /// Pushes a revision that was generated `age` ago by the real clock, and lets the office in for this long.
    fn push(&self, revision: u64, age: SignedDuration, lasts: SignedDuration) {
        let until = Timestamp::now() + lasts;
        let office = format!("id: fr-1, type: custom_range, cidr: 203.0.113.0/24, expires_at: '{until}'");
        self.write("a", revision, "192.0.2.1", age, &[&office, SHOP]);
    }

    fn write(&self, database: &str, revision: u64, address: &str, age: SignedDuration, rules: &[&str]) {
        let text = file(database, revision, address, rules);
        let text = text.replace("2026-08-21T15:27:32Z", &(Timestamp::now() - age).to_string());
        self.stage.write(&format!("{database}.yaml"), &text);
        self.stage.until_revision(database, revision);
    }

    /// Waits until the office gets this verdict; the shop is always let in.
    fn until_office_is(&self, reason: &str) {
        let what = format!("the office is {reason}");
        self.stage.until(&what, |_| self.stage.reason(IN_OFFICE, "a") == reason);
        assert_eq!(self.stage.reason(IN_SHOP, "a"), "allowed");
    }

    /// Waits until the condition of the clock is told, or none is.
    fn until_told(&self, condition: Option<&str>) {
        self.stage.until(&format!("{condition:?} is told"), |status| {
            let errors = status["errors"].to_string();
            condition.map_or(!errors.contains("clock "), |condition| errors.contains(condition))
        });
    }
}

fn library() -> PathBuf {
    let places = ["x86_64-linux-gnu/", "aarch64-linux-gnu/", "", "64/"].map(|place| match place {
        "64/" => "/usr/lib64/faketime/libfaketimeMT.so.1".to_owned(),
        place => format!("/usr/lib/{place}faketime/libfaketimeMT.so.1"),
    });
    let found = places.iter().map(Path::new).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("libfaketimeMT.so.1: is the package faketime installed?")).to_owned()
}

const NOW: SignedDuration = SignedDuration::ZERO;

#[test]
fn a_clock_that_is_ahead_at_one_start_ends_no_rule() {
    let mut host = Faked::new();
    host.start(NOW, false);
    host.push(1, NOW, HOURS(30 * DAY));
    host.until_office_is("allowed");
    host.stop();
    host.start(HOURS(10 * YEAR), false);
    host.until_told(Some("clock held"));
    host.until_office_is("allowed");
    assert!(host.clock(false)["held"].is_string());
    host.stop();
    host.start(NOW, false);
    host.until_told(None);
    host.until_office_is("allowed");
    host.push(2, NOW, HOURS(60 * DAY));
    host.until_office_is("allowed");
}

#[test]
fn a_clock_that_is_ahead_at_the_first_start_ends_no_rule_for_good() {
    let mut host = Faked::new();
    host.start(HOURS(10 * YEAR), false);
    // Nothing says that this clock is wrong.
    host.push(1, NOW, HOURS(30 * DAY));
    host.until_office_is("no_match");
    assert_eq!(host.clock(false)["mark"], Value::Null);
    host.set(NOW);
    host.until_office_is("allowed");
}

/// The control of the first test, and how it is mended: a clock that the kernel calls synchronised is believed.
#[test]
fn a_mark_that_a_wrong_clock_moved_ahead_is_told_and_lowered() {
    let mut host = Faked::new();
    host.start(NOW, true);
    host.push(1, NOW, HOURS(30 * DAY));
    host.until_office_is("allowed");
    host.stop();
    host.start(HOURS(10 * YEAR), true);
    host.until_office_is("no_match");
    host.stop();
    for with_agent in [true, false] {
        host.start(NOW, true);
        host.until_told(Some("clock ahead"));
        host.push(if with_agent { 2 } else { 3 }, NOW, HOURS(60 * DAY));
        host.until_office_is("no_match");
        let clock = host.clock(true);
        assert!(clock["ahead_seconds"].as_i64().unwrap() > 9 * YEAR * 3600, "{clock}");
        assert_eq!(clock["synchronised"], true, "{clock}");
        let shown = host.ask(true, &["clock"]);
        assert!(shown.out.contains("! ahead: "), "{shown:?}");
        if !with_agent {
            host.stop();
        }
        let lowered = host.ask(true, &["clock", "--lower"]);
        assert_eq!(lowered.code, Some(0), "{lowered:?}");
        assert!(lowered.out.starts_with("clock: mark lowered from 2"), "{lowered:?}");
        if with_agent {
            assert!(host.stage.log().contains("clock mark lowered"), "it is logged");
        } else {
            host.start(NOW, true);
        }
        host.until_office_is("allowed");
        host.until_told(None);
        let again = host.ask(true, &["clock", "--lower"]);
        assert_eq!(again.code, Some(1), "{again:?}");
        assert!(again.err.contains("is not ahead of"), "{again:?}");
        host.stop();
        // For the second turn.
        host.start(HOURS(10 * YEAR), true);
        host.until_office_is("no_match");
        host.stop();
    }
}

#[test]
fn a_clock_that_is_not_synchronised_is_lowered_to_a_given_time_only() {
    let mut host = Faked::new();
    host.start(NOW, true);
    host.push(1, HOURS(48), HOURS(30 * DAY));
    host.stop();
    host.start(HOURS(10 * YEAR), true);
    host.until_office_is("no_match");
    host.stop();
    host.start(NOW, false);
    host.until_told(Some("clock ahead"));
    let at = |ahead| format!("{:.0}", Timestamp::now() + ahead);
    let (old, good) = (at(HOURS(-72)), at(HOURS(-1)));
    for (arguments, code, words) in [
        (&["--lower"][..], 1, "is not synchronised: synchronise it, or give the real time by --to TIME"),
        (&["--lower", "--to", &old], 1, "when the newest accepted file was generated"),
        (&["--lower", "--to", &at(HOURS(20 * YEAR))], 1, "is not ahead of"),
        (&["--lower", "--to", "yesterday"], 2, "invalid value 'yesterday'"),
        (&["--to", &good], 2, "--lower"),
        (&["--lower", "-o", "json"], 2, "cannot be used with"),
    ] {
        let answer = host.ask(false, &[&["clock"], arguments].concat());
        assert_eq!(answer.code, Some(code), "{arguments:?}: {answer:?}");
        assert!(answer.err.contains(words), "{arguments:?}: {answer:?}");
        assert_eq!(host.stage.reason(IN_OFFICE, "a"), "no_match", "{arguments:?}");
    }
    let lowered = host.ask(false, &["clock", "--lower", "--to", &good]);
    assert_eq!(lowered.code, Some(0), "{lowered:?}");
    host.until_office_is("allowed");
}

#[test]
fn a_step_is_held_until_the_clock_is_synchronised_and_what_expired_stays_so() {
    let mut host = Faked::new();
    host.start(NOW, false);
    host.push(1, NOW, HOURS(1));
    host.until_office_is("allowed");
    host.set(HOURS(3));
    host.until_told(Some("clock held"));
    host.until_office_is("allowed");
    host.synchronise();
    host.until_office_is("no_match");
    host.until_told(None);
    host.stop();
    // Set back, and not synchronised.
    host.start(NOW, false);
    host.until_told(Some("clock ahead"));
    host.until_office_is("no_match");
    host.push(2, NOW, HOURS(DAY));
    host.until_office_is("allowed");
}

#[test]
fn a_step_is_held_until_a_file_confirms_it() {
    let mut host = Faked::new();
    host.start(NOW, false);
    host.push(1, NOW, HOURS(1));
    host.set(HOURS(3));
    host.until_told(Some("clock held"));
    // An old file says nothing.
    host.write("b", 1, "192.0.2.2", HOURS(1), &[SHOP]);
    host.until_told(Some("clock held"));
    host.until_office_is("allowed");
    host.write("b", 2, "192.0.2.2", HOURS(-3), &[SHOP]);
    host.until_office_is("no_match");
    host.until_told(None);
}

#[test]
fn a_boot_with_the_clock_in_the_past_expires_what_is_due_once_it_is_synchronised() {
    let mut host = Faked::new();
    host.start(NOW, true);
    host.push(1, NOW, HOURS(1));
    host.until_office_is("allowed");
    host.stop();
    host.stage.forget_kernel();
    host.start(HOURS(-40 * YEAR), false);
    host.until_told(Some("clock ahead"));
    host.until_office_is("allowed");
    host.set(HOURS(3));
    host.until_told(Some("clock held"));
    host.until_office_is("allowed");
    host.synchronise();
    host.until_office_is("no_match");
}
