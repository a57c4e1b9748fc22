//! Traffic of other people's tools against a guarded host: scanners, packet generators, protocol testers, floods and
//! captures. A model of the verdict table judges every frame that they send.
//!
//! The normal run has the cases of one tool. `cargo xtask traffic` installs all tools and runs every case.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../model/decision.rs"]
#[allow(dead_code, reason = "the model suite reads the rules, too")]
mod decision;
#[path = "../model/parsed_flow.rs"]
mod parsed_flow;
#[path = "../model/policy.rs"]
mod policy;

mod captures;
mod cases;
mod network_counters;
mod observed;
mod outcome;
mod report;
mod rule_set;
mod session;
mod tally;
mod tap;
mod target;

use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::Instant;

use cases::{Case, LONG, QUICK};
use firewall_tests::lab::is_full;
use observed::Observed;
use outcome::Outcome;
use rule_set::RuleSet;
use target::Target;

/// Environment variable with a part of the names of the cases to run: `nmap: Xmas scan`.
const CASES_VARIABLE: &str = "TRAFFIC_CASES";
/// Environment variable with the path of the table.
const REPORT_VARIABLE: &str = "TRAFFIC_REPORT";

#[test]
fn every_frame_of_other_tools_gets_its_verdict() {
    let (started, cases) = (Instant::now(), chosen());
    assert!(!cases.is_empty(), "{CASES_VARIABLE}: no case has this name");
    let outcomes = outcomes(&cases);
    let failures: Vec<String> = outcomes.iter().flat_map(Outcome::failures).collect();
    if let Some(path) = std::env::var_os(REPORT_VARIABLE) {
        report::save(&outcomes, started.elapsed(), Path::new(&path));
    }
    // Written past the test harness's capture, since a normal run has only some of the cases.
    let line = format!(
        "traffic: {} of {} cases, {} failures, {:?}; `cargo xtask traffic` runs all\n",
        cases.len(),
        QUICK.len() + LONG.len(),
        failures.len(),
        started.elapsed()
    );
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Controls: a host without the agent does not pass for a guarded one, nor a guarded one for the control.
#[test]
fn missing_agent_and_ineffective_control_are_failures() {
    let case = QUICK[0];
    let observe = |has_agent| Target::new(RuleSet::new(false), has_agent).observe(&case);
    let (unguarded, guarded) = (observe(false), observe(true));
    let failures_of = |control: &Observed, denied: &Observed| {
        let [control, denied, allowed] = [control, denied, denied].map(Observed::clone);
        Outcome { case, control, denied, allowed }.failures().join("\n")
    };
    assert_eq!(failures_of(&unguarded, &guarded), "");
    let failures = failures_of(&unguarded, &unguarded);
    for what in ["passed wrongly", "delivered from a denied source", "denied: counted", "refused nothing"] {
        assert!(failures.contains(what), "{what}: {failures}");
    }
    let failures = failures_of(&guarded, &guarded);
    assert!(failures.contains("reaches nothing without the agent"), "{failures}");
}

fn chosen() -> Vec<Case> {
    let all = QUICK.iter().chain(LONG).copied();
    match std::env::var(CASES_VARIABLE) {
        Ok(part) => all.filter(|case| format!("{}: {}", case.tool, case.mode).contains(&part)).collect(),
        Err(_) if is_full() => all.collect(),
        Err(_) => QUICK.to_vec(),
    }
}

fn outcomes(cases: &[Case]) -> Vec<Outcome> {
    let [control, denied, allowed] = observations(cases);
    let observed = control.into_iter().zip(denied).zip(allowed);
    let outcome =
        |(case, ((control, denied), allowed)): (&Case, _)| Outcome { case: *case, control, denied, allowed };
    cases.iter().zip(observed).map(outcome).collect()
}

/// Runs the cases on three pairs of hosts at once: without the agent, and with the agent while it denies the tools and
/// while it allows them.
#[expect(clippy::print_stdout, reason = "progress of `cargo xtask traffic`, captured in a normal run")]
fn observations(cases: &[Case]) -> [Vec<Observed>; 3] {
    let run = |name, allows_tools, has_agent| {
        move || {
            let mut target = Target::new(RuleSet::new(allows_tools), has_agent);
            let observe = |case: &Case| {
                let seen = target.observe(case);
                println!("{name}: {}, {}: {:.1} s", case.tool, case.mode, seen.took.as_secs_f64());
                seen
            };
            cases.iter().map(observe).collect()
        }
    };
    thread::scope(|scope| {
        [("no agent", true, false), ("denied", false, true), ("allowed", true, true)]
            .map(|(name, allows_tools, has_agent)| scope.spawn(run(name, allows_tools, has_agent)))
            .map(|one| one.join().unwrap())
    })
}
