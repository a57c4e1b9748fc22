//! `cargo xtask mutants`: plants known faults one by one in a copy of the tree. A test suite that passes with a fault
//! in the program does not cover it; every fault must make a test fail.

mod domain;
mod judge;
mod state;
mod table;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use fs_err as fs;

use crate::copy::copy;
use crate::debian::{ensure_packages, is_root};
use crate::ebpf;
use crate::mutants::judge::{Judge, Judgement};
use crate::run::say;
use crate::test::{PACKAGES, PROGRAMS};
use crate::workspace::Workspace;

/// A fault to plant: replaces the only occurrence of `find` in `file` by `replace`.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    pub name: &'static str,
    /// Relative to the root of the workspace.
    pub file: &'static str,
    pub find: &'static str,
    pub replace: &'static str,
    /// Test targets of `firewall-tests`, or [`OWN`] or [`HISTORIES`] alone; one of them must fail.
    pub targets: &'static [&'static str],
}

/// The agent's own tests, including the fleet histories.
const OWN: &str = "lib";

/// The fleet histories alone.
const HISTORIES: &str = "histories";

/// Returns every mutant.
fn all() -> impl Iterator<Item = &'static Mutant> {
    table::MUTANTS.iter().chain(domain::MUTANTS).chain(state::MUTANTS)
}

#[derive(Debug, Args)]
pub struct Arguments {
    /// Run only mutants whose name contains this text
    name: Option<String>,
    /// Run only mutants that tests of this target must find, such as histories, openings or lib
    #[arg(long)]
    target: Option<String>,
}

pub fn mutants(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    ensure!(is_root(), "mutants: needs root, as the tests do; nothing was run");
    let Arguments { name, target } = arguments;
    let wanted = |mutant: &&Mutant| {
        name.as_deref().is_none_or(|name| mutant.name.contains(name))
            && target.as_deref().is_none_or(|target| mutant.targets.contains(&target))
    };
    let chosen: Vec<&Mutant> = all().filter(wanted).collect();
    ensure!(
        !chosen.is_empty(),
        "mutants: none has {:?} in its name and {:?} as target",
        name.as_deref().unwrap_or(""),
        target.as_deref().unwrap_or("any target")
    );
    ensure_packages(PACKAGES, PROGRAMS)?;
    ebpf::ebpf(workspace)?;

    let home = workspace.target.join("mutants");
    let source = home.join("src");
    copy(workspace, &source)?;
    let judge = Judge::new(workspace, &source, &home.join("target"))?;
    control(&judge, &chosen)?;

    let (started, number, mut survivors) = (Instant::now(), chosen.len(), Vec::new());
    for mutant in chosen {
        let (judgement, seconds) = plant(&source, mutant, &judge)?;
        say(format_args!("{:<40} {:<10} {seconds:>4} s  {judgement}", mutant.name, judgement.word()));
        if !judgement.is_kill() {
            survivors.push(mutant.name);
        }
    }
    let (found, seconds) = (number - survivors.len(), started.elapsed().as_secs());
    say(format_args!("found {found} of {number} in {seconds} s"));
    ensure!(survivors.is_empty(), "mutants: not killed: {}", survivors.join(", "));
    Ok(())
}

/// Control: without a fault every target of these mutants must pass, or its failures would prove nothing.
fn control(judge: &Judge, chosen: &[&Mutant]) -> Result<()> {
    for targets in controls(chosen) {
        let (judgement, seconds) = judge.judge(&targets)?;
        say(format_args!("{:<40} {:<10} {seconds:>4} s  {judgement}", "control: no fault", judgement.word()));
        let survived = matches!(judgement, Judgement::Survived);
        ensure!(survived, "control: {} fails without a fault: {judgement}", targets.join(", "));
    }
    Ok(())
}

/// Returns the targets of these mutants, grouped by package.
fn controls(chosen: &[&Mutant]) -> Vec<Vec<&'static str>> {
    let all: BTreeSet<&str> = chosen.iter().flat_map(|mutant| mutant.targets).copied().collect();
    let (own, others): (Vec<&str>, Vec<&str>) =
        all.into_iter().partition(|target| [OWN, HISTORIES].contains(target));
    own.into_iter().map(|target| vec![target]).chain([others]).filter(|targets| !targets.is_empty()).collect()
}

fn plant(source: &Path, mutant: &Mutant, judge: &Judge) -> Result<(Judgement, u64)> {
    let path = source.join(mutant.file);
    let original = fs::read_to_string(&path)?;
    let mutated = replace_once(&original, mutant)?;
    fs::write(&path, mutated)?;
    let judged = judge.judge(mutant.targets);
    fs::write(&path, original)?;
    judged
}

fn replace_once(text: &str, mutant: &Mutant) -> Result<String> {
    let found = text.matches(mutant.find).count();
    ensure!(
        found == 1,
        "{}: {}: {:?} occurs {found} times, must occur once",
        mutant.name,
        mutant.file,
        mutant.find
    );
    Ok(text.replacen(mutant.find, mutant.replace, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUTANT: Mutant =
        Mutant { name: "a", file: "a.rs", find: "a == b", replace: "true", targets: &["model"] };

    #[test]
    fn a_fault_is_planted_in_exactly_one_place() {
        assert_eq!(replace_once("if a == b {", &MUTANT).unwrap(), "if true {");
        for text in ["if b == a {", "a == b && a == b"] {
            assert!(
                replace_once(text, &MUTANT).unwrap_err().to_string().contains("must occur once"),
                "{text}"
            );
        }
    }

    #[test]
    fn every_target_of_a_chosen_mutant_has_a_control() {
        let other = Mutant { targets: &["model", "denied"], ..MUTANT };
        let own = Mutant { targets: &[OWN], ..MUTANT };
        let histories = Mutant { targets: &[HISTORIES], ..MUTANT };
        assert_eq!(controls(&[&MUTANT, &other]), [["denied", "model"]]);
        assert_eq!(controls(&[&own, &own, &MUTANT, &histories]), [["histories"], ["lib"], ["model"]]);
    }

    #[test]
    fn every_mutant_changes_its_file_and_has_a_unique_name() {
        for (index, mutant) in all().enumerate() {
            assert_ne!(mutant.find, mutant.replace, "{}", mutant.name);
            assert!(all().take(index).all(|other| other.name != mutant.name), "{}", mutant.name);
        }
    }

    #[test]
    fn every_mutant_text_occurs_once_in_its_file() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let found = |mutant: &&Mutant| {
            std::fs::read_to_string(root.join(mutant.file)).unwrap().matches(mutant.find).count()
        };
        let lost = all().filter(|mutant| found(mutant) != 1);
        let lost: Vec<String> = lost.map(|mutant| format!("{}: {:?}", mutant.name, mutant.find)).collect();
        assert!(lost.is_empty(), "{}", lost.join("\n"));
    }
}
