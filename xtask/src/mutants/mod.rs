//! `cargo xtask mutants`: plants known faults one by one in a copy of the tree. A test suite that passes with a fault
//! in the program does not cover it; every fault must make a test fail.

mod judge;
mod judged;
mod mutant;
mod report;

use std::collections::BTreeSet;
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

/// The table, relative to the root of the workspace.
const TABLE: &str = "bench/mutants.md";
/// The sources that a result depends on.
const SOURCES: &[&str] =
    &["Cargo.lock", "Cargo.toml", "firewall-agent", "firewall-common", "firewall-ebpf", "tests"];

#[derive(Debug, Args)]
pub struct Arguments {
    /// Run only mutants whose name contains this text
    name: Option<String>,
    /// Run only mutants that tests of this target must find, such as histories, openings or lifecycle/deciding::
    #[arg(long)]
    target: Option<String>,
    /// Skip mutants that an interrupted run on the same committed sources has found
    #[arg(long)]
    resume: bool,
}

/// Fails unless a test finds every chosen mutant. Stores the table when all were chosen, in either case.
pub fn mutants(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let Arguments { name, target, resume } = arguments;
    let is_whole = name.is_none() && target.is_none();
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
    let sources = trees::ensure_committed(&workspace.shell, SOURCES);
    let state = match sources {
        Err(uncommitted) if is_whole || *resume => return Err(uncommitted),
        Err(_) => "uncommitted".to_owned(),
        Ok(()) => trees::trees(&workspace.shell, "HEAD", SOURCES)?,
    };
    let home = workspace.target.join("mutants");
    let source = home.join("src");
    copy(workspace, &source)?;
    let judge = Judge::new(workspace, Workspace::at(source.clone(), home.join("target"))?)?;
    let mut results: SavedResults<Judged> = SavedResults::new(home.join("results.json"), state.clone());
    if *resume {
        results = results.resumed()?;
    }
    let open: Vec<&Mutant> =
        chosen.iter().filter(|mutant| results.find(|judged| judged.is_kill_of(mutant)).is_none()).collect();
    say(format_args!("mutants: {} of {} to judge", open.len(), chosen.len()));
    control(&judge, &open)?;
    for mutant in open {
        let (judgement, seconds) = plant(&source, mutant, &judge)?;
        say(format_args!("{:<40} {:<10} {seconds:>4} s  {judgement}", mutant.name, judgement.word()));
        let judged = Judged { mutant: mutant.clone(), judgement, seconds };
        results.add(judged, |earlier| earlier.is_of(mutant))?;
    }

    let judged: Vec<&Judged> =
        chosen.iter().filter_map(|mutant| results.find(|judged| judged.is_of(mutant))).collect();
    if is_whole {
        let today = cmd!(workspace.shell, "date --utc +%F").read()?;
        let state = format!("Sources, {today}: {state}");
        fs::write(workspace.root.join(TABLE), report::markdown(&judged, &state)?)?;
    }
    let survivors = judged.iter().filter(|judged| !judged.judgement.is_kill());
    let survivors: Vec<&str> = survivors.map(|judged| judged.mutant.name.as_str()).collect();
    say(format_args!("found {} of {}", chosen.len() - survivors.len(), chosen.len()));
    ensure!(survivors.is_empty(), "mutants: not killed: {}", survivors.join(", "));
    Ok(())
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
