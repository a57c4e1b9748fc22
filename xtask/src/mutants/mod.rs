//! `cargo xtask mutants`: plants known faults one by one in a copy of the tree. A test suite that passes with a fault
//! in the program does not cover it; every fault must make a test fail.

mod judge;
mod mutant;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use fs_err as fs;

use crate::copy::copy;
use crate::mutants::judge::{Judge, Judgement};
use crate::mutants::mutant::Mutant;
use crate::prepare::prepare;
use crate::run::say;
use crate::workspace::Workspace;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Run only mutants whose name contains this text
    name: Option<String>,
    /// Run only mutants that tests of this target must find, such as histories, openings or lifecycle/deciding::
    #[arg(long)]
    target: Option<String>,
}

pub fn mutants(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let Arguments { name, target } = arguments;
    let mut chosen = Mutant::all(&workspace.root)?;
    chosen.retain(|mutant| {
        name.as_ref().is_none_or(|name| mutant.name.contains(name))
            && target.as_ref().is_none_or(|target| mutant.is_of(target))
    });
    ensure!(
        !chosen.is_empty(),
        "mutants: none has {:?} in its name and {:?} as target",
        name.as_deref().unwrap_or(""),
        target.as_deref().unwrap_or("any target")
    );
    prepare(workspace, "mutants", &[])?;
    let home = workspace.target.join("mutants");
    let source = home.join("src");
    copy(workspace, &source)?;
    let tree = Workspace::at(source.clone(), home.join("target"))?;
    let judge = Judge::new(workspace, tree)?;
    control(&judge, &chosen)?;

    let (started, mut survivors) = (Instant::now(), Vec::new());
    for mutant in &chosen {
        let (judgement, seconds) = plant(&source, mutant, &judge)?;
        say(format_args!("{:<40} {:<10} {seconds:>4} s  {judgement}", mutant.name, judgement.word()));
        if !judgement.is_kill() {
            survivors.push(mutant.name.as_str());
        }
    }
    let (found, seconds) = (chosen.len() - survivors.len(), started.elapsed().as_secs());
    say(format_args!("found {found} of {} in {seconds} s", chosen.len()));
    ensure!(survivors.is_empty(), "mutants: not killed: {}", survivors.join(", "));
    Ok(())
}

/// Control: without a fault every target of these mutants must pass, or its failures would prove nothing.
fn control(judge: &Judge, chosen: &[Mutant]) -> Result<()> {
    for targets in controls(chosen) {
        let (judgement, seconds) = judge.judge(&targets)?;
        let what = format!("control: {}", targets.join(", "));
        say(format_args!("{what:<40} {:<10} {seconds:>4} s  {judgement}", judgement.word()));
        let survived = matches!(judgement, Judgement::Survived);
        ensure!(survived, "control: {} fails without a fault: {judgement}", targets.join(", "));
    }
    Ok(())
}

/// Returns the targets of these mutants, each by itself: all in one run would exceed the time that one may take.
fn controls(chosen: &[Mutant]) -> Vec<Vec<String>> {
    let all: BTreeSet<&String> = chosen.iter().flat_map(|mutant| &mutant.targets).collect();
    all.into_iter().map(|target| vec![target.clone()]).collect()
}

fn plant(source: &Path, mutant: &Mutant, judge: &Judge) -> Result<(Judgement, u64)> {
    let path = source.join(&mutant.file);
    let original = fs::read_to_string(&path)?;
    fs::write(&path, mutant.plant(&original)?)?;
    let judged = judge.judge(&mutant.targets);
    fs::write(&path, original)?;
    judged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::mutant::{HISTORIES, OWN};

    #[test]
    fn every_target_of_a_chosen_mutant_has_a_control() {
        let mutant = |targets: &[&str]| Mutant {
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            ..Mutant::default()
        };
        let (model, own) = (mutant(&["model"]), mutant(&[OWN]));
        assert_eq!(controls(&[model.clone(), mutant(&["model", "denied"])]), [["denied"], ["model"]]);
        let chosen = [own.clone(), own, model, mutant(&[HISTORIES])];
        assert_eq!(controls(&chosen), [["histories"], ["lib"], ["model"]]);
    }
}
