//! Evaluation of a guest's output. A test that does not report success has failed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Parts of the error on a kernel that is too old: its version, the missing features, the first version that has them.
const LACKS: &[&str] = &["5.10", "bpf_xdp_load_bytes", "bpf_loop", "5.18"];

/// Output and end of one command of the plan.
#[derive(Debug, PartialEq)]
pub struct Section {
    pub name: String,
    pub text: String,
    /// `None` if the guest ended before the command did.
    pub end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct End {
    pub code: i32,
    pub seconds: f64,
}

/// The tests of one program in one kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub passed: usize,
    /// Failed tests and other errors.
    pub failed: Vec<String>,
    /// Number of tests that were not to be run here.
    pub left_out: usize,
    /// Facts that the tests printed; empty without any.
    pub note: String,
}

/// Splits the results into sections. `== begin NAME` and `== end NAME CODE FROM TO` enclose each command's output;
/// times are seconds since boot.
pub fn sections(results: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in results.lines() {
        let mut words = line.split(' ');
        let mark = (words.next(), words.next(), words.next());
        match (mark, sections.last_mut()) {
            ((Some("=="), Some("begin"), Some(name)), _) => {
                sections.push(Section { name: name.to_owned(), text: String::new(), end: None });
            }
            ((Some("=="), Some("end"), Some(name)), Some(section)) if section.name == name => {
                section.end = end(words);
            }
            (_, Some(section)) if section.end.is_none() => {
                section.text.push_str(line);
                section.text.push('\n');
            }
            _ => {}
        }
    }
    sections
}

fn end<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<End> {
    let code = words.next()?.parse().ok()?;
    let from: f64 = words.next()?.parse().ok()?;
    let to: f64 = words.next()?.parse().ok()?;
    Some(End { code, seconds: to - from })
}

/// Compares the output of a test program with its list of tests.
pub fn judge(section: Option<&Section>, tests: &BTreeSet<String>) -> Outcome {
    let Some(section) = section else { return failed("was not run") };
    let named = |how: &str| -> BTreeSet<&str> {
        let lines = section.text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(how));
        lines.filter(|name| tests.contains(*name)).collect()
    };
    let (passed, failing) = (named(" ... ok"), named(" ... FAILED"));
    let mut outcome = Outcome { passed: passed.len(), ..Outcome::default() };
    outcome.failed.extend(failing.iter().map(|name| format!("{name} failed")));
    let untold =
        tests.iter().filter(|name| !passed.contains(name.as_str()) && !failing.contains(name.as_str()));
    outcome.failed.extend(untold.map(|name| format!("{name} did not end")));
    match section.end {
        None => outcome.failed.push("the guest ended before its tests did".to_owned()),
        Some(End { code: 0, .. }) if tests.is_empty() => outcome.failed.push("has no test".to_owned()),
        Some(End { code: 0, .. }) => {}
        Some(End { code: 124, seconds }) => outcome.failed.push(format!("was killed after {seconds:.0} s")),
        Some(End { code, .. }) if outcome.failed.is_empty() => {
            outcome.failed.push(format!("ended with {code}"))
        }
        Some(_) => {}
    }
    outcome
}

/// Judges whether the agent exited with 1 and one line that names the missing features, without the verifier's log.
pub fn judge_refusal(section: Option<&Section>) -> Outcome {
    let text = section.map(|section| section.text.trim()).unwrap_or_default();
    let code = section.and_then(|section| section.end).map(|End { code, .. }| code);
    let mut failed = Vec::new();
    if code != Some(1) {
        failed.push(format!("exit code of the agent is {code:?}, must be 1"));
    }
    failed.extend(
        LACKS
            .iter()
            .filter(|name| !text.contains(*name))
            .map(|name| format!("the error does not name {name}")),
    );
    let lines = text.lines().count();
    if lines != 1 {
        failed.push(format!("the error has {lines} lines, must have one"));
    }
    Outcome { passed: usize::from(failed.is_empty()), failed, ..Outcome::default() }
}

fn failed(why: &str) -> Outcome {
    Outcome { failed: vec![why.to_owned()], ..Outcome::default() }
}

/// Returns the rests of the lines of a section with this start, one after another.
pub fn printed(section: Option<&Section>, start: &str) -> String {
    let lines = section.iter().flat_map(|section| section.text.lines());
    lines.filter_map(|line| line.strip_prefix(start)).collect::<Vec<_>>().join(", ")
}

/// Returns the number of instructions of a program that the verifier processed, as the tests printed it.
pub fn verified(sections: &[Section], program: &str) -> Option<u64> {
    let start = format!("{program}: ");
    let lines = sections.iter().flat_map(|section| section.text.lines());
    lines
        .filter_map(|line| line.strip_prefix(&start)?.strip_suffix(" instructions verified")?.parse().ok())
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULTS: &str = "== begin up\n\n== end up 0 1.00 1.50\n== begin verdicts\nrunning 2 tests\ntest a::b ... ok\n\
                           test c ... ok\nfirewall: 32407 instructions verified\n\n== end verdicts 0 2.00 12.00\n";

    fn tests(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn judged(results: &str, names: &[&str]) -> Outcome {
        let sections = sections(results);
        judge(sections.iter().find(|section| section.name == "verdicts"), &tests(names))
    }

    #[test]
    fn all_passed_tests_are_a_success() {
        assert_eq!(judged(RESULTS, &["a::b", "c"]), Outcome { passed: 2, ..Outcome::default() });
        let sections = sections(RESULTS);
        assert_eq!(sections[1].end, Some(End { code: 0, seconds: 10.0 }));
        assert_eq!(verified(&sections, "firewall"), Some(32407));
        assert_eq!(verified(&sections, "unknown"), None);
    }

    #[test]
    fn failed_missing_unknown_and_absent_tests_are_failures() {
        let cases: [(&str, &[&str], &str); 7] = [
            (&RESULTS.replace("c ... ok", "c ... FAILED"), &["a::b", "c"], "c failed"),
            (RESULTS, &["a::b", "c", "d"], "d did not end"),
            (&RESULTS.replace("test c ... ok\n", "test c ... \n"), &["a::b", "c"], "c did not end"),
            (&RESULTS.replace("verdicts 0 ", "verdicts 139 "), &["a::b", "c"], "ended with 139"),
            (&RESULTS.replace("verdicts 0 ", "verdicts 124 "), &["a::b", "c"], "was killed after 10 s"),
            (RESULTS, &[], "has no test"),
            ("", &["a::b", "c"], "was not run"),
        ];
        for (results, names, why) in cases {
            assert_eq!(judged(results, names).failed, [why], "{results}");
        }
    }

    fn refusal(text: &str, code: i32) -> Outcome {
        let end = Some(End { code, seconds: 1.0 });
        judge_refusal(Some(&Section { name: "refusal".to_owned(), text: text.to_owned(), end }))
    }

    #[test]
    fn refusal_is_one_line_that_names_the_missing_feature() {
        let line = "error: kernel 5.10.0: lacks bpf_xdp_load_bytes (Linux 5.18), bpf_loop (5.17)\n";
        assert_eq!(refusal(line, 1), Outcome { passed: 1, ..Outcome::default() });
        assert_eq!(refusal(line, 0).failed.len(), 1);
        assert_eq!(
            refusal(&format!("{line}0: R1=ctx()\n"), 1).failed,
            ["the error has 2 lines, must have one"]
        );
        assert_eq!(refusal("error: invalid argument\n", 1).failed.len(), LACKS.len());
        assert_eq!(judge_refusal(None).passed, 0);
    }

    #[test]
    fn guest_that_stops_midway_fails() {
        let (cut, _) = RESULTS.split_once("test c").unwrap_or_default();
        let outcome = judged(cut, &["a::b", "c"]);
        assert_eq!(outcome.passed, 1);
        assert_eq!(outcome.failed, ["c did not end", "the guest ended before its tests did"]);
    }
}
