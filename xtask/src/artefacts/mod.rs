//! Release artefacts: the static program, the image, the Debian package, and the bill of materials.

mod check;
mod image;
mod package;
mod program;
mod reproducible;
mod sbom;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use fs_err as fs;

use self::program::{Profile, revision};
use crate::copy::copy;
use crate::debian::{ensure_packages, is_root};
use crate::ebpf;
use crate::run::say;
use crate::workspace::Workspace;

pub use reproducible::reproducible;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Build for this architecture; only x86_64 gives more than the program and its bill of materials
    #[arg(long, default_value = "x86_64")]
    arch: String,
}

/// One set of artefacts, with its sources and output directory.
#[derive(Debug)]
struct Artefacts<'a> {
    /// The tree to compile, and cargo's target directory for it.
    sources: Workspace,
    /// The tree under version control, and its revision.
    workspace: &'a Workspace,
    revision: String,
    dir: PathBuf,
    arch: String,
    profile: Profile,
}

impl<'a> Artefacts<'a> {
    /// Returns the release set, in `<target>/artefacts`.
    fn release(workspace: &'a Workspace, arch: &str) -> Result<Self> {
        Self::new(workspace, workspace.clone(), workspace.target.join("artefacts"), arch, Profile::Release)
    }

    fn new(
        workspace: &'a Workspace,
        sources: Workspace,
        dir: PathBuf,
        arch: &str,
        profile: Profile,
    ) -> Result<Self> {
        ebpf::ebpf(workspace)?;
        fs::create_dir_all(&dir)?;
        let revision = revision(workspace)?;
        Ok(Self { sources, workspace, revision, dir, arch: arch.to_owned(), profile })
    }

    fn target(&self) -> String {
        format!("{}-unknown-linux-musl", self.arch)
    }
}

/// `cargo xtask image`.
pub fn image(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let artefacts = Artefacts::release(workspace, &arguments.arch)?;
    let program = artefacts.program()?;
    say(format_args!("program: {}", program.display()));
    say(format_args!("list: {}", artefacts.sbom(&program)?.display()));
    if arguments.arch != "x86_64" {
        return Ok(());
    }
    ensure!(is_root(&workspace.shell), "image: needs root: a file in it gets capabilities");
    ensure_packages(&workspace.shell, image::PACKAGES)?;
    say(format_args!("image: {}", artefacts.image(&program)?.display()));
    Ok(())
}

/// `cargo xtask package`.
pub fn package(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    packaged(&Artefacts::release(workspace, &arguments.arch)?).map(|_| ())
}

/// Builds the package of the release for this machine's architecture; returns its path.
pub fn release_package(workspace: &Workspace) -> Result<PathBuf> {
    packaged(&Artefacts::release(workspace, std::env::consts::ARCH)?)
}

fn packaged(artefacts: &Artefacts<'_>) -> Result<PathBuf> {
    let program = artefacts.program()?;
    say(format_args!("program: {}", program.display()));
    let list = artefacts.sbom(&program)?;
    say(format_args!("list: {}", list.display()));
    let package = artefacts.package(&list)?;
    say(format_args!("package: {}", package.display()));
    Ok(package)
}

/// Builds all artefacts for the tests, in `<target>/test-artefacts`: without optimisation, from a copy of the sources
/// in another directory and into a separate target directory, so that the embedded object is one that was built twice.
pub fn for_tests(workspace: &Workspace) -> Result<()> {
    ensure_packages(&workspace.shell, image::PACKAGES)?;
    let dir = workspace.target.join("test-artefacts");
    let sources = Workspace::at(dir.join("source"), dir.join("build"))?;
    copy(workspace, &sources.root)?;
    let artefacts = Artefacts::new(workspace, sources, dir, "x86_64", Profile::Test)?;
    let program = artefacts.program()?;
    let list = artefacts.sbom(&program)?;
    artefacts.image(&program)?;
    artefacts.package(&list)?;
    Ok(())
}
