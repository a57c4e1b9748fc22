//! The table of kernels.

use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;

use super::machine::{Accelerator, Machine};
use super::plan::TESTS;
use super::results::{End, Outcome, Section};
use crate::run::say;

/// The result of one kernel.
#[derive(Debug)]
pub struct Row {
    pub release: String,
    pub suite: &'static str,
    pub accel: Accelerator,
    /// Test programs with their outcomes.
    pub outcomes: Vec<(String, Outcome)>,
    /// Instructions of the attached program that the verifier processed.
    pub verified: Option<u64>,
    /// The agent's message where it refused to run.
    pub refusal: Option<String>,
    /// Reason for which the guest was killed, unless it ended by itself.
    pub killed: Option<String>,
    pub took: Duration,
    pub is_up: bool,
}

const INTRODUCTION: &str = "\
# Other kernels

Debian's kernels, booted under QEMU by `cargo xtask kernels` with this machine's files, programs and tests. Under KVM
every test runs. Under TCG, which emulates every instruction, tests repeat a tenth as often and wait six times as long;
of the lifecycle tests only those of load, adoption, restart and migration run, since the others take too long there.

";

/// Parts of the error on a kernel that is too old: its version, the missing features, the first version that has them.
const LACKS: &[&str] = &["5.10", "bpf_xdp_load_bytes", "bpf_loop", "5.18"];

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
    Outcome { passed: usize::from(failed.is_empty()), failed, left_out: 0 }
}

impl Row {
    pub fn has_failed(&self) -> bool {
        !self.is_up || self.killed.is_some() || self.failures().next().is_some() || self.passed() == 0
    }

    fn passed(&self) -> usize {
        self.outcomes.iter().map(|(_, outcome)| outcome.passed).sum()
    }

    fn failures(&self) -> impl Iterator<Item = String> {
        let listed = |(name, outcome): &(String, Outcome)| -> Vec<String> {
            outcome.failed.iter().map(|what| format!("{name}: {what}")).collect()
        };
        self.outcomes.iter().flat_map(listed)
    }

    /// Reports the failures, and the path of the full output.
    pub fn print(&self, machine: &Machine<'_>) {
        let took = self.took.as_secs();
        let (passed, failed) = (self.passed(), self.failures().count());
        say(format_args!("kernels: {}: {passed} passed, {failed} failed, {took} s", self.release));
        self.failures().for_each(|failure| say(format_args!("  {failure}")));
        if let Some(why) = &self.killed {
            say(format_args!("  the guest was killed: {why}"));
        }
        if !self.is_up || self.killed.is_some() {
            say(format_args!("{}", machine.last_words()));
        }
        if self.has_failed() {
            say(format_args!("  full output is in {}", machine.dir.display()));
        }
    }

    fn cells(&self) -> Vec<String> {
        let cell = |name: &&str| {
            let Some((_, outcome)) = self.outcomes.iter().find(|(of, _)| of == name) else {
                return "–".to_owned();
            };
            let mut cell = format!("{} passed", outcome.passed);
            if !outcome.failed.is_empty() {
                cell += &format!(", **{} failed**", outcome.failed.len());
            }
            if outcome.left_out > 0 {
                cell += &format!(", {} left out", outcome.left_out);
            }
            cell
        };
        let mut cells = vec![self.release.clone(), self.suite.to_owned(), self.accel.name().to_owned()];
        cells.push(match (&self.refusal, self.has_failed()) {
            (_, true) => "**not as expected**".to_owned(),
            (Some(_), false) => "refused, as expected".to_owned(),
            (None, false) => "runs".to_owned(),
        });
        cells.extend(TESTS.iter().map(cell));
        cells.push(self.verified.map_or_else(|| "–".to_owned(), |verified| verified.to_string()));
        cells.push(format!("{} s", self.took.as_secs()));
        cells
    }
}

/// Prints the table.
pub fn show(rows: &[Row]) -> Result<()> {
    let text = markdown(rows)?;
    // A closed terminal is no error.
    let _ = write!(stdout(), "{text}");
    Ok(())
}

/// Writes the table to `path`.
pub fn save(rows: &[Row], path: &Path) -> Result<()> {
    Ok(fs::write(path, markdown(rows)?)?)
}

fn markdown(rows: &[Row]) -> Result<String> {
    let mut text = INTRODUCTION.to_owned();
    let head = ["kernel", "release", "by", "the agent"].iter().chain(TESTS);
    let head: Vec<&str> = head.copied().chain(["instructions verified", "time"]).collect();
    writeln!(text, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()))?;
    for row in rows {
        writeln!(text, "| {} |", row.cells().join(" | "))?;
    }
    for row in rows {
        if let Some(refusal) = &row.refusal {
            writeln!(text, "\nOn {} the agent says:\n\n```\n{refusal}\n```", row.release)?;
        }
        if row.has_failed() {
            writeln!(text, "\nOn {} failed:\n", row.release)?;
            row.failures().chain(row.killed.clone()).try_for_each(|what| writeln!(text, "* {what}"))?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn row(outcomes: Vec<(String, Outcome)>) -> Row {
        Row {
            release: "6.1.0".to_owned(),
            suite: "bookworm",
            accel: Accelerator::Tcg,
            outcomes,
            verified: None,
            refusal: None,
            killed: None,
            took: Duration::from_secs(9),
            is_up: true,
        }
    }

    #[test]
    fn a_kernel_fails_with_a_test_and_without_any() {
        let good = || ("verdicts".to_owned(), Outcome { passed: 3, ..Outcome::default() });
        let bad =
            ("evasion".to_owned(), Outcome { passed: 3, failed: vec!["a failed".to_owned()], left_out: 0 });
        assert!(!row(vec![good()]).has_failed());
        assert!(row(vec![good(), bad]).has_failed());
        assert!(row(vec![]).has_failed());
        assert!(Row { is_up: false, ..row(vec![good()]) }.has_failed());
        assert!(Row { killed: Some("hung".to_owned()), ..row(vec![good()]) }.has_failed());
    }
}
