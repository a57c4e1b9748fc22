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

use std::io::{Write as _, stdout};
use std::num::NonZero;
use std::path::PathBuf;
use std::thread::available_parallelism;

use anyhow::{Result, anyhow};
use fs_err as fs;
use xshell::cmd;

use self::disk::Disks;
use self::packages::Packages;
use self::record::Record;
use self::release::{Release, names};
use self::report::Circumstances;
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
    /// Boot only these Debian releases; the report is stored only when all are booted
    #[arg(value_name = "RELEASE", value_parser = clap::builder::PossibleValuesParser::new(names()))]
    releases: Vec<String>,
    /// Install this package instead of building one
    #[arg(long, value_name = "DEB")]
    package: Option<PathBuf>,
}

/// Fails unless every step is as expected; stores the report in either case.
pub fn boot(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let (text, outcome) = all(workspace, arguments)?;
    if arguments.releases.is_empty() {
        fs::write(workspace.root.join("bench/boot.md"), &text)?;
    }
    // A closed terminal is no error.
    let _ = write!(stdout(), "{text}");
    outcome
}

/// As [`boot`] for all releases, without storing the report.
pub fn check(workspace: &Workspace) -> Result<()> {
    all(workspace, &Arguments::default())?.1
}

/// Returns the report, and an error if a step has failed.
fn all(workspace: &Workspace, arguments: &Arguments) -> Result<(String, Result<()>)> {
    prepare(workspace, "boot", TOOLS)?;
    let sh = &workspace.shell;
    let dir = sh.create_dir(workspace.target.join("boot"))?;
    let circumstances = Circumstances {
        date: cmd!(sh, "date --utc --iso-8601").read()?,
        cores: available_parallelism().map_or(1, NonZero::get),
    };
    let packages = Packages::build(workspace, &dir, arguments.package.as_deref())?;
    let mut records = Vec::new();
    for release in Release::chosen(&arguments.releases) {
        let dir = sh.create_dir(dir.join(release.name))?;
        let disks = Disks::new(workspace, release, &dir, &packages)?;
        let record = Run::new(release, &packages, disks, dir, workspace.root.clone())?.record();
        if let Some(broken) = &record.broken {
            say(format_args!("boot: {}: ended early: {broken}", release.title));
        }
        records.push(record);
    }
    let failures: usize = records.iter().map(Record::failures).sum();
    let steps: usize = records.iter().map(|record| record.steps.len()).sum();
    let text = report::markdown(&records, &circumstances)?;
    let outcome =
        if failures == 0 { Ok(()) } else { Err(anyhow!("boot: {failures} of {steps} steps failed")) };
    Ok((text, outcome))
}
