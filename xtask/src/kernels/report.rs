//! The tables of kernels and network cards.

use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::card::CARDS;
use super::machine::{Accelerator, Machine, Ran};
use super::plan::TESTS;
use super::results::{Outcome, Section, printed, sections};
use crate::run::say;

/// The result of one kernel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// As `uname -r` prints it.
    pub kernel: String,
    /// The name on the command line.
    pub name: String,
    pub accel: Accelerator,
    /// Suites and network cards with their outcomes.
    pub outcomes: Vec<(String, Outcome)>,
    /// Instructions of the attached program that the verifier processed.
    pub verified: Option<u64>,
    /// The agent's message where it refused to run.
    pub refusal: Option<String>,
    pub ran: Ran,
}

/// The results of all kernels.
#[derive(Debug)]
pub struct Run {
    pub rows: Vec<Row>,
    /// Number of rows that an earlier run stored.
    pub earlier: usize,
    /// Wall time, with builds and downloads; without the earlier run.
    pub took: Duration,
    /// The tested object of the XDP program as the agent's `--version` names it.
    pub object: String,
}

const INTRODUCTION: &str = "\
# Other kernels

Debian's kernels, booted under QEMU by `cargo xtask kernels` with this machine's files, programs and tests. Under KVM
every test runs. Under TCG, which emulates every instruction, tests repeat a tenth as often and wait six times as long;
of the lifecycle tests only those of load, adoption, restart and migration run, since the others take too long there.
The names with `-rt` are kernels with `PREEMPT_RT`, where the agent uses no caches: the test of caches after kills is
left out there.

";
const CARDS_INTRODUCTION: &str = "
## Network cards

The suite `cards` on network cards that QEMU emulates, with the driver of the same kernels: the mode that
`xdp_mode: auto` chooses, and the receive queues that the driver counts, all of which had packets. Where the mode is
generic, `xdp_mode: native` was refused and the card left open. A driver that forgets its program passed the test of
changes of MTU and link in generic mode only.

";
const REFUSALS_INTRODUCTION: &str = "
The agent's errors where `xdp_mode: native` was refused; of a driver without native XDP they have the kernel's own words:

";
/// Start of the line in which the suite `cards` prints the error of a refused mode.
const REFUSED: &str = "refused: ";

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
        say(format_args!("kernels: {}: {passed} passed, {failed} failed, {took} s", self.kernel));
        self.failures().for_each(|failure| say(format_args!("  {failure}")));
        if !self.ran.is_up() || self.ran.killed.is_some() {
            say(format_args!("{}", machine.last_words()));
        }
        if self.has_failed() {
            say(format_args!("  full output is in {}", machine.dir.display()));
        }
    }

    /// Returns the outcome of a suite or card for the table.
    fn cell(&self, name: &str) -> String {
        let Some((_, outcome)) = self.outcomes.iter().find(|(of, _)| *of == name) else {
            return "–".to_owned();
        };
        let mut cell = format!("{} passed", outcome.passed);
        if !outcome.note.is_empty() {
            cell = format!("{}: {cell}", outcome.note);
        }
        if !outcome.failed.is_empty() {
            cell += &format!(", **{} failed**", outcome.failed.len());
        }
        if outcome.left_out > 0 {
            cell += &format!(", {} left out", outcome.left_out);
        }
        cell
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.kernel.clone(), self.name.clone(), self.accel.name().to_owned()];
        cells.push(match (&self.refusal, self.has_failed()) {
            (_, true) => "**not as expected**".to_owned(),
            (Some(_), false) => "refused, as expected".to_owned(),
            (None, false) => "runs".to_owned(),
        });
        cells.extend(TESTS.iter().map(|name| self.cell(name)));
        cells.push(self.verified.map_or_else(|| "–".to_owned(), |verified| verified.to_string()));
        cells.push(format!("{} s", self.ran.took.as_secs()));
        cells
    }

    fn card_cells(&self) -> Vec<String> {
        let cards = CARDS.iter().map(|card| self.cell(card.name));
        let time = format!("{:.0} s", self.card_seconds());
        [self.kernel.clone()].into_iter().chain(cards).chain([time]).collect()
    }

    fn has_cards(&self) -> bool {
        CARDS.iter().any(|card| self.outcomes.iter().any(|(name, _)| *name == card.name))
    }

    /// Returns the outputs of the suite `cards`, one for each card.
    fn card_sections(&self) -> Vec<Section> {
        let is_of_a_card = |section: &Section| CARDS.iter().any(|card| card.name == section.name);
        sections(&self.ran.results).into_iter().filter(is_of_a_card).collect()
    }

    /// Returns the time of the suite `cards` on all cards, by the guest's clock.
    fn card_seconds(&self) -> f64 {
        self.card_sections().iter().filter_map(|section| section.end).map(|end| end.seconds).sum()
    }

    /// Returns the error of each card that refused native mode, as `KERNEL, CARD: ERROR`.
    fn refused_cards(&self) -> Vec<String> {
        let line = |section: &Section| {
            let words = printed(Some(section), REFUSED);
            (!words.is_empty()).then(|| format!("{}, {}: {words}", self.kernel, section.name))
        };
        self.card_sections().iter().filter_map(line).collect()
    }
}

impl Run {
    /// Returns a sentence about the time of the run, its guests and their cards.
    fn times(&self) -> String {
        let guests: Duration = self.rows.iter().map(|row| row.ran.took).sum();
        let cards: f64 = self.rows.iter().map(Row::card_seconds).sum();
        let earlier = match self.earlier {
            0 => String::new(),
            some => format!(
                " An earlier run tested {some} of the {} kernels; its guests are included.",
                self.rows.len()
            ),
        };
        format!(
            "Wall time of the run, with builds and downloads: {} s. The guests ran for {} s, the suite `cards` in them for \
             {cards:.0} s.{earlier}",
            self.took.as_secs(),
            guests.as_secs()
        )
    }
}

/// Prints the tables.
pub fn show(run: &Run) -> Result<()> {
    let text = markdown(run)?;
    // A closed terminal is no error.
    let _ = write!(stdout(), "{text}");
    Ok(())
}

/// Writes the tables to `path`, with a line that says to which state of the project they belong.
pub fn save(run: &Run, state: &str, path: &Path) -> Result<()> {
    Ok(fs::write(path, format!("{}\n{state}\n", markdown(run)?))?)
}

fn markdown(run: &Run) -> Result<String> {
    let (mut text, rows) = (INTRODUCTION.to_owned(), &run.rows);
    let head = ["kernel", "name", "by", "the agent"].iter().chain(TESTS).copied();
    table(&mut text, head.chain(["instructions verified", "time"]), rows.iter().map(Row::cells))?;
    writeln!(text, "\n{}", run.times())?;
    let with_cards: Vec<&Row> = rows.iter().filter(|row| row.has_cards()).collect();
    if !with_cards.is_empty() {
        text += CARDS_INTRODUCTION;
        let head = ["kernel"].into_iter().chain(CARDS.iter().map(|card| card.name)).chain(["time"]);
        table(&mut text, head, with_cards.iter().map(|row| row.card_cells()))?;
    }
    let refused: Vec<String> = rows.iter().flat_map(Row::refused_cards).collect();
    if !refused.is_empty() {
        writeln!(text, "{REFUSALS_INTRODUCTION}```\n{}\n```", refused.join("\n"))?;
    }
    for row in rows {
        if let Some(refusal) = &row.refusal {
            writeln!(text, "\nOn {} the agent says:\n\n```\n{refusal}\n```", row.kernel)?;
        }
        if row.has_failed() {
            writeln!(text, "\nOn {} failed:\n", row.kernel)?;
            row.failures().try_for_each(|what| writeln!(text, "* {what}"))?;
        }
    }
    Ok(text)
}

fn table<'a>(
    text: &mut String,
    head: impl Iterator<Item = &'a str>,
    rows: impl Iterator<Item = Vec<String>>,
) -> Result<()> {
    let head: Vec<&str> = head.collect();
    writeln!(text, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()))?;
    for row in rows {
        writeln!(text, "| {} |", row.join(" | "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::plan::UP;

    fn row(outcomes: Vec<(&'static str, Outcome)>) -> Row {
        Row {
            kernel: "6.1.0".to_owned(),
            name: "bookworm".to_owned(),
            accel: Accelerator::Tcg,
            outcomes: outcomes.into_iter().map(|(name, outcome)| (name.to_owned(), outcome)).collect(),
            verified: None,
            refusal: None,
            ran: Ran { results: UP.to_owned(), ..Ran::default() },
        }
    }

    #[test]
    fn a_kernel_fails_with_a_test_and_without_any() {
        let good = || ("verdicts", Outcome { passed: 3, ..Outcome::default() });
        let bad =
            ("evasion", Outcome { passed: 3, failed: vec!["a failed".to_owned()], ..Outcome::default() });
        assert!(!row(vec![good()]).has_failed());
        assert!(row(vec![good(), bad]).has_failed());
        assert!(row(vec![]).has_failed());
        assert!(Row { ran: Ran::default(), ..row(vec![good()]) }.has_failed());
        let mut hung = row(vec![good()]);
        hung.ran.killed = Some("hung".to_owned());
        assert!(hung.has_failed());
    }

    #[test]
    fn table_has_times_and_the_words_of_refused_cards() {
        let results = "== begin up\n6.1.0\n== end up 0 1.00 1.50\n== begin igb\ntest a ... ok\n== end igb 0 2.00 42.00\n\
                       == begin e1000e\ntest a ... ok\nrefused: no native XDP\n== end e1000e 0 42.00 62.40\n";
        let good = || Outcome { passed: 1, ..Outcome::default() };
        let mut row = row(vec![("igb", good()), ("e1000e", good())]);
        row.ran.results = results.to_owned();
        row.ran.took = Duration::from_secs(70);
        let (took, object) = (Duration::from_secs(100), String::new());
        let text = markdown(&Run { rows: vec![row], earlier: 0, took, object }).unwrap();
        for line in [
            "| 6.1.0 | – | – | 1 passed | 1 passed | 60 s |",
            "Wall time of the run, with builds and downloads: 100 s. The guests ran for 70 s, the suite `cards` in them for 60 s.",
            "6.1.0, e1000e: no native XDP",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
        assert!(!text.contains("6.1.0, igb:"), "{text}");
    }
}
