//! `cargo xtask boot`: the Debian package in guests with a real systemd, under traffic from the first moment of each
//! boot on.

mod arrivals;
mod disk;
mod documented;
mod guest;
mod network;
mod packages;
mod record;
mod release;
mod report;
mod rules;
mod run;
mod scenarios;
mod timeline;
mod traffic;

use std::num::NonZero;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::{Result, ensure};
use fs_err as fs;
use xshell::cmd;

use self::disk::Disks;
use self::packages::Packages;
use self::record::Record;
use self::release::{Release, names};
use self::run::Run;
use crate::debian::Package;
use crate::prepare::prepare;
use crate::run::say;
use crate::workspace::Workspace;

/// Packages that make and boot a system.
const TOOLS: &[Package<'_>] = &[
    ("dpkg", &["dpkg-deb"]),
    ("e2fsprogs", &["mke2fs"]),
    ("mmdebstrap", &["mmdebstrap"]),
    ("qemu-system-x86", &["qemu-system-x86_64"]),
    ("tar", &["tar"]),
];

#[derive(Debug, Default, clap::Args)]
pub struct Arguments {
    /// Boot only these Debian releases; the others keep their sections of the report
    #[arg(value_name = "RELEASE", value_parser = clap::builder::PossibleValuesParser::new(names()))]
    releases: Vec<String>,
    /// Install this package instead of building one
    #[arg(long, value_name = "DEB")]
    package: Option<PathBuf>,
}

/// Fails unless every step is as expected; stores the section of each release in the report in either case.
pub fn boot(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let path = workspace.root.join("bench/boot.md");
    all(workspace, arguments, |record, circumstances| {
        let older = if path.exists() { fs::read_to_string(&path)? } else { String::new() };
        Ok(fs::write(&path, report::with(&older, record, circumstances)?)?)
    })
}

/// As [`boot`] for all releases, without storing the report.
pub fn check(workspace: &Workspace) -> Result<()> {
    all(workspace, &Arguments::default(), |_, _| Ok(()))
}

/// Boots the releases and passes each record, with the circumstances of its run, to `store`.
fn all(
    workspace: &Workspace,
    arguments: &Arguments,
    store: impl Fn(&Record, &str) -> Result<()>,
) -> Result<()> {
    prepare(workspace, "boot", TOOLS)?;
    let sh = &workspace.shell;
    let dir = sh.create_dir(workspace.target.join("boot"))?;
    let packages = Packages::build(workspace, &dir, arguments.package.as_deref())?;
    let (mut steps, mut failures) = (0, 0);
    for release in Release::chosen(&arguments.releases) {
        let dir = sh.create_dir(dir.join(release.name))?;
        let disks = Disks::new(workspace, release, &dir, &packages)?;
        let began = Instant::now();
        let record = Run::new(release, &packages, disks, dir, workspace.root.clone())?.record();
        if let Some(broken) = &record.broken {
            say(format_args!("boot: {}: ended early: {broken}", release.title));
        }
        let (date, minutes) = (cmd!(sh, "date --utc --iso-8601").read()?, began.elapsed().as_secs() / 60);
        let cores = available_parallelism().map_or(1, NonZero::get);
        store(&record, &format!("{date} in {minutes} minutes on {cores} cores"))?;
        steps += record.steps.len();
        failures += record.failures();
    }
    say(format_args!("boot: {steps} steps, {failures} failed"));
    ensure!(failures == 0, "boot: {failures} of {steps} steps failed");
    Ok(())
}
