//! Wrong clocks.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::faked::Faked;
use crate::setup::{IN_OFFICE, SHOP};

const HOURS: fn(i64) -> SignedDuration = SignedDuration::from_hours;
const DAY: i64 = 24;
const YEAR: i64 = 365 * DAY;
const NOW: SignedDuration = SignedDuration::ZERO;

#[test]
fn clock_ahead_at_one_start_expires_no_rule() {
    let mut host = Faked::new();
    host.start(NOW, false);
    host.push(1, NOW, HOURS(30 * DAY));
    host.until_office_is("allowed");
    host.stop();
    host.start(HOURS(10 * YEAR), false);
    host.until_condition(Some("clock untrusted"));
    host.until_office_is("allowed");
    assert!(host.clock(false)["untrusted_wall_clock"].is_string());
    host.stop();
    host.start(NOW, false);
    host.until_condition(None);
    host.until_office_is("allowed");
    host.push(2, NOW, HOURS(60 * DAY));
    host.until_office_is("allowed");
}

#[test]
fn clock_ahead_at_the_first_start_expires_no_rule_permanently() {
    let mut host = Faked::new();
    host.start(HOURS(10 * YEAR), false);
    // No evidence contradicts this clock.
    host.push(1, NOW, HOURS(30 * DAY));
    host.until_office_is("no_match");
    assert_eq!(host.clock(false)["mark"], Value::Null);
    host.set(NOW);
    host.until_office_is("allowed");
}

/// Control of the first test, and its repair: the agent trusts a clock that the kernel reports as synchronised.
#[test]
fn mark_ahead_is_reported_and_can_be_lowered() {
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
        host.until_condition(Some("clock ahead"));
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
            host.host.eventually("the lowering is logged", || host.host.log().contains("clock mark lowered"));
        } else {
            host.start(NOW, true);
        }
        host.until_office_is("allowed");
        host.until_condition(None);
        let again = host.ask(true, &["clock", "--lower"]);
        assert_eq!(again.code, Some(1), "{again:?}");
        assert!(again.err.contains("is not ahead of"), "{again:?}");
        host.stop();
        // For the second iteration.
        host.start(HOURS(10 * YEAR), true);
        host.until_office_is("no_match");
        host.stop();
    }
}

#[test]
fn unsynchronised_clock_is_lowered_only_to_an_explicit_time() {
    let mut host = Faked::new();
    host.start(NOW, true);
    host.push(1, HOURS(48), HOURS(30 * DAY));
    host.stop();
    host.start(HOURS(10 * YEAR), true);
    host.until_office_is("no_match");
    host.stop();
    host.start(NOW, false);
    host.until_condition(Some("clock ahead"));
    let at = |ahead| format!("{:.0}", Timestamp::now() + ahead);
    let (old, good) = (at(HOURS(-72)), at(HOURS(-1)));
    for (arguments, code, words) in [
        (&["--lower"][..], 1, "is not synchronised: synchronise it, or give the real time with --to TIME"),
        (&["--lower", "--to", &old], 1, "the time of the newest accepted file"),
        (&["--lower", "--to", &at(HOURS(20 * YEAR))], 1, "is not ahead of"),
        (&["--lower", "--to", "yesterday"], 2, "invalid value 'yesterday'"),
        (&["--to", &good], 2, "--lower"),
        (&["--lower", "-o", "json"], 2, "cannot be used with"),
    ] {
        let answer = host.ask(false, &[&["clock"], arguments].concat());
        assert_eq!(answer.code, Some(code), "{arguments:?}: {answer:?}");
        assert!(answer.err.contains(words), "{arguments:?}: {answer:?}");
        assert_eq!(host.host.reason(IN_OFFICE, "a"), "no_match", "{arguments:?}");
    }
    let lowered = host.ask(false, &["clock", "--lower", "--to", &good]);
    assert_eq!(lowered.code, Some(0), "{lowered:?}");
    host.until_office_is("allowed");
}

#[test]
fn large_step_waits_for_synchronisation_and_expiry_is_permanent() {
    let mut host = Faked::new();
    host.start(NOW, false);
    host.push(1, NOW, HOURS(1));
    host.until_office_is("allowed");
    host.set(HOURS(3));
    host.until_condition(Some("clock untrusted"));
    host.until_office_is("allowed");
    host.synchronise();
    host.until_office_is("no_match");
    host.until_condition(None);
    host.stop();
    // Set back, and not synchronised.
    host.start(NOW, false);
    host.until_condition(Some("clock ahead"));
    host.until_office_is("no_match");
    host.push(2, NOW, HOURS(DAY));
    host.until_office_is("allowed");
}

#[test]
fn large_step_waits_for_a_file_to_confirm_it() {
    let mut host = Faked::new();
    host.start(NOW, false);
    host.push(1, NOW, HOURS(1));
    host.set(HOURS(3));
    host.until_condition(Some("clock untrusted"));
    // An old file confirms nothing.
    host.write("b", 1, "192.0.2.2", HOURS(1), &[SHOP]);
    host.until_condition(Some("clock untrusted"));
    host.until_office_is("allowed");
    host.write("b", 2, "192.0.2.2", HOURS(-3), &[SHOP]);
    host.until_office_is("no_match");
    host.until_condition(None);
}

#[test]
fn boot_with_past_clock_expires_due_rules_once_synchronised() {
    let mut host = Faked::new();
    host.start(NOW, true);
    host.push(1, NOW, HOURS(1));
    host.until_office_is("allowed");
    host.stop();
    host.host.remove_pins();
    host.start(HOURS(-40 * YEAR), false);
    host.until_condition(Some("clock ahead"));
    host.until_office_is("allowed");
    host.set(HOURS(3));
    host.until_condition(Some("clock untrusted"));
    host.until_office_is("allowed");
    host.synchronise();
    host.until_office_is("no_match");
}
