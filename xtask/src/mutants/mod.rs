//! `cargo xtask mutants`: plants known faults one by one in a copy of the tree. A test suite that passes with a fault
//! in the program does not cover it; every fault must make a test fail.

mod judge;
mod judged;
mod mutant;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, ensure};
use clap::Args;
use fs_err as fs;
use xshell::cmd;

use crate::copy::copy;
use crate::mutants::judge::{Judge, Judgement};
use crate::mutants::judged::Judged;
use crate::mutants::mutant::Mutant;
use crate::prepare::prepare;
use crate::run::say;
use crate::saved_results::SavedResults;
use crate::trees;
use crate::workspace::Workspace;

/// Folder of the table and its figures, relative to the root of the workspace.
const FOLDER: &str = "bench";
/// Version of the stored results.
const FORMAT: &str = "mutants 1";

#[derive(Debug, Args)]
pub struct Arguments {
    /// Run only mutants whose name contains this text
    name: Option<String>,
    /// Run only mutants that tests of this target must find, such as histories, openings or lifecycle/deciding::
    #[arg(long)]
    target: Option<String>,
    /// Skip mutants that an earlier run has found, if neither their file nor their tests have changed since
    #[arg(long)]
    resume: bool,
}

/// Fails unless a test finds every chosen mutant. Stores the results of committed sources in either case.
pub fn mutants(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let Arguments { name, target, resume } = arguments;
    let all = Mutant::all(&workspace.root)?;
    let is_chosen = |mutant: &&Mutant| {
        name.as_ref().is_none_or(|name| mutant.name.contains(name))
            && target.as_ref().is_none_or(|target| mutant.is_of(target))
    };
    let chosen: Vec<&Mutant> = all.iter().filter(is_chosen).collect();
    ensure!(
        !chosen.is_empty(),
        "mutants: none has {:?} in its name and {:?} as target",
        name.as_deref().unwrap_or(""),
        target.as_deref().unwrap_or("any target")
    );
    prepare(workspace, "mutants", &[])?;
    let folder = workspace.root.join(FOLDER);
    let mut results: SavedResults<Judged> =
        SavedResults::new(folder.join("mutants.json"), FORMAT.to_owned()).resumed()?;
    let mut sources = BTreeMap::new();
    for mutant in &all {
        sources.insert(&mutant.name, committed(workspace, mutant)?);
    }
    let holds = |judged: &Judged, mutant: &Mutant| judged.holds_for(mutant, sources[&mutant.name].as_deref());
    results.retain(|judged| all.iter().any(|mutant| holds(judged, mutant)));
    let is_known = |mutant: &&Mutant| {
        results.find(|judged| holds(judged, mutant) && judged.judgement.is_kill()).is_some()
    };
    let open: Vec<&Mutant> = chosen.iter().copied().filter(|mutant| !(*resume && is_known(mutant))).collect();
    say(format_args!("mutants: {} of {} to judge", open.len(), chosen.len()));

    let home = workspace.target.join("mutants");
    let source = home.join("src");
    copy(workspace, &source)?;
    let judge = Judge::new(workspace, &home)?;
    control(&judge, &open)?;
    let commit = cmd!(workspace.shell, "git rev-parse --short HEAD").read()?;
    let mut survivors = Vec::new();
    for mutant in open {
        let (judgement, seconds) = plant(&source, mutant, &judge)?;
        say(format_args!("{:<40} {:<10} {seconds:>4} s  {judgement}", mutant.name, judgement.word()));
        if !judgement.is_kill() {
            survivors.push(mutant.name.as_str());
        }
        let sources = sources[&mutant.name].clone();
        if sources.is_some() {
            let judged =
                Judged { mutant: mutant.clone(), judgement, seconds, sources, commit: commit.clone() };
            results.add(judged, |earlier| earlier.mutant.name == mutant.name)?;
            fs::write(folder.join("mutants.md"), report::markdown(&all, &results)?)?;
        }
    }
    say(format_args!("found {} of {}", chosen.len() - survivors.len(), chosen.len()));
    ensure!(survivors.is_empty(), "mutants: not killed: {}", survivors.join(", "));
    Ok(())
}

/// Returns the git objects that a result of this mutant depends on; `None` while one of them has uncommitted changes.
fn committed(workspace: &Workspace, mutant: &Mutant) -> Result<Option<String>> {
    let paths = mutant.sources();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let is_committed = trees::ensure_committed(&workspace.shell, &paths).is_ok();
    is_committed.then(|| trees::trees(&workspace.shell, "HEAD", &paths)).transpose()
}

/// Control: without a fault every target of these mutants must pass, or its failures would prove nothing.
fn control(judge: &Judge, open: &[&Mutant]) -> Result<()> {
    for targets in controls(open) {
        let (judgement, seconds) = judge.judge(&targets)?;
        let what = format!("control: {}", targets.join(", "));
        say(format_args!("{what:<40} {:<10} {seconds:>4} s  {judgement}", judgement.word()));
        let survived = matches!(judgement, Judgement::Survived);
        ensure!(survived, "control: {} fails without a fault: {judgement}", targets.join(", "));
    }
    Ok(())
}

/// Returns the targets of these mutants, each by itself: all in one run would exceed the time that one may take.
fn controls(open: &[&Mutant]) -> Vec<Vec<String>> {
    let all: BTreeSet<&String> = open.iter().flat_map(|mutant| &mutant.targets).collect();
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
    fn every_target_of_an_open_mutant_has_a_control() {
        let mutant = |targets: &[&str]| Mutant {
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            ..Mutant::default()
        };
        let (model, own) = (mutant(&["model"]), mutant(&[OWN]));
        assert_eq!(controls(&[&model, &mutant(&["model", "denied"])]), [["denied"], ["model"]]);
        let open = [&own, &own, &model, &mutant(&[HISTORIES])];
        assert_eq!(controls(&open), [["histories"], ["lib"], ["model"]]);
    }
}
