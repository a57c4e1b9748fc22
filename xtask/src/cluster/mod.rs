//! `cargo xtask cluster`: runs the shipped manifests on a real one-node Kubernetes.

mod build;
mod certificates;
mod cgroups;
mod hosts;
mod images;
mod install;
mod kubectl;
mod node;
mod outages;
mod packages;
mod plan;
mod report;
mod restore;
mod rules;
mod scenario;
mod services;
mod traffic;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use xshell::cmd;

use self::cgroups::Cgroups;
use self::plan::Plan;
use crate::apt::Apt;
use crate::artefacts;
use crate::debian::Package;
use crate::prepare::prepare;
use crate::run::say;
use crate::workspace::Workspace;

/// The Debian release of the node's programs: the last one with the complete source of Kubernetes.
const RELEASE: &str = "bookworm";
const TOOLS: &[Package<'_>] = &[
    ("buildah", &["buildah"]),
    ("busybox-static", &["busybox"]),
    ("dpkg-dev", &["dpkg-source"]),
    ("libseccomp2", &[]),
];

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Play this plan, in the processes that started for it
    #[arg(long, hide = true)]
    play: Option<PathBuf>,
}

/// Fails unless every claim holds; stores the report if all were examined.
pub fn cluster(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if let Some(plan) = &arguments.play {
        return play(&Plan::load(plan)?);
    }
    run(workspace, Some("bench/cluster.md"))
}

/// As [`cluster`], without storing the report.
pub fn check(workspace: &Workspace) -> Result<()> {
    run(workspace, None)
}

/// Runs the scenario in processes that all end with this one.
fn run(workspace: &Workspace, report: Option<&str>) -> Result<()> {
    let plan = prepared(workspace)?;
    let (file, itself) = (plan.logs.join("plan.json"), std::env::current_exe().context("cluster: no path")?);
    plan.save(&file)?;
    let cgroups = Cgroups::of(plan.run)?;
    cgroups.remove_orphans()?;
    // When this process or the first of the PID namespace ends, the kernel kills all others.
    let played = cmd!(
        workspace.shell,
        "setpriv --pdeathsig KILL unshare --pid --fork --kill-child {itself} cluster --play {file}"
    );
    let played = played.run();
    cgroups.remove()?;
    if let Ok(text) = fs::read_to_string(&plan.report) {
        say(format_args!("\n{text}"));
        if let Some(path) = report {
            fs::write(workspace.root.join(path), text)?;
        }
    }
    played.with_context(|| format!("cluster: a claim does not hold; logs are in {}", plan.logs.display()))
}

fn play(plan: &Plan) -> Result<()> {
    let report = scenario::play(plan)?;
    fs::write(&plan.report, report.markdown()?)?;
    ensure!(report.missed().is_empty(), "cluster: bounds missed: {}", report.missed().join(", "));
    Ok(())
}

/// Builds and fetches everything that is not cached.
fn prepared(workspace: &Workspace) -> Result<Plan> {
    prepare(workspace, "cluster", TOOLS)?;
    artefacts::for_tests(workspace)?;
    crate::kubectl::ensure_kubectl(workspace)?;
    let (sh, dir) = (&workspace.shell, workspace.target.join("cluster"));
    let apt = Apt::with_sources(sh, RELEASE, &workspace.target)?;
    let mut packages = packages::unpacked(sh, &apt, &dir)?;
    packages.push(build::programs(sh, &apt, &dir)?);
    let logs = dir.join("logs");
    sh.remove_path(&logs)?;
    sh.create_dir(&logs)?;
    let (images, built) = (sh.create_dir(dir.join("images"))?, workspace.target.join("test-artefacts"));
    let agent = built.join("firewall-agent.oci.tar");
    Ok(Plan {
        packages,
        deploy: workspace.root.join("deploy"),
        kubectl: crate::kubectl::later(workspace),
        program: built.join("firewall-agent"),
        pause: images::pause(sh, &images)?,
        another: images::another(sh, &images, &agent)?,
        agent,
        report: logs.join("report.md"),
        logs,
        run: std::process::id(),
    })
}
