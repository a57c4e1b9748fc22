//! The table of kernels.

use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::path::Path;

use anyhow::Result;
use fs_err as fs;

use super::machine::{Accelerator, Machine, Ran};
use super::plan::TESTS;
use super::results::Outcome;
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
    pub ran: Ran,
}

const INTRODUCTION: &str = "\
# Other kernels

Debian's kernels, booted under QEMU by `cargo xtask kernels` with this machine's files, programs and tests. Under KVM
every test runs. Under TCG, which emulates every instruction, tests repeat a tenth as often and wait six times as long;
of the lifecycle tests only those of load, adoption, restart and migration run, since the others take too long there.

";

impl Row {
    pub fn has_failed(&self) -> bool {
        self.passed() == 0 || self.failures().next().is_some()
    }

    fn passed(&self) -> usize {
        self.outcomes.iter().map(|(_, outcome)| outcome.passed).sum()
    }

    fn failures(&self) -> impl Iterator<Item = String> {
        let listed = |(name, outcome): &(String, Outcome)| -> Vec<String> {
            outcome.failed.iter().map(|what| format!("{name}: {what}")).collect()
        };
        let killed = self.ran.killed.iter().map(|why| format!("the guest was killed: {why}"));
        let down = (!self.ran.is_up()).then(|| "the guest did not come up".to_owned());
        self.outcomes.iter().flat_map(listed).chain(killed).chain(down)
    }

    /// Reports the failures, and the path of the full output.
    pub fn print(&self, machine: &Machine<'_>) {
        let took = self.ran.took.as_secs();
        let (passed, failed) = (self.passed(), self.failures().count());
        say(format_args!("kernels: {}: {passed} passed, {failed} failed, {took} s", self.release));
        self.failures().for_each(|failure| say(format_args!("  {failure}")));
        if !self.ran.is_up() || self.ran.killed.is_some() {
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
        cells.push(format!("{} s", self.ran.took.as_secs()));
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
            row.failures().try_for_each(|what| writeln!(text, "* {what}"))?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::plan::UP;

    fn row(outcomes: Vec<(String, Outcome)>) -> Row {
        Row {
            release: "6.1.0".to_owned(),
            suite: "bookworm",
            accel: Accelerator::Tcg,
            outcomes,
            verified: None,
            refusal: None,
            ran: Ran { results: UP.to_owned(), ..Ran::default() },
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
        assert!(Row { ran: Ran::default(), ..row(vec![good()]) }.has_failed());
        let mut hung = row(vec![good()]);
        hung.ran.killed = Some("hung".to_owned());
        assert!(hung.has_failed());
    }
}
