//! The agent's binary, always up to date with its sources.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context as _, Result, anyhow};

use super::answer::output_of;

/// Builds `firewall-agent` in the profile of the running test, if it is out of date, and returns its path. Cargo builds
/// no binary of another package for a test, and one that exists may be old.
pub fn agent_binary() -> Result<PathBuf> {
    static BUILT: LazyLock<Result<PathBuf>> = LazyLock::new(|| agent_of(&profile_dir()?));
    BUILT.as_ref().cloned().map_err(|error| anyhow!("{error:#}"))
}

/// Returns cargo's output directory of the profile that the running test was built in.
pub(super) fn profile_dir() -> Result<PathBuf> {
    let test = std::env::current_exe().context("no path of the running test")?;
    let dir = test.parent().and_then(|deps| deps.parent()).context("the test is in no target directory")?;
    Ok(dir.to_owned())
}

/// Builds `firewall-agent` in the profile of this directory and returns its path.
pub fn agent_of(profile_dir: &Path) -> Result<PathBuf> {
    build(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")), "firewall-agent", profile_dir)
}

/// Builds a program of the package `firewall-agent` in `tree` and returns its path.
pub(super) fn build(tree: &Path, program: &str, profile_dir: &Path) -> Result<PathBuf> {
    let target = profile_dir.parent().context("the test is in no target directory")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With the features of the whole workspace, as its tests: other features would compile dependencies again.
    cargo.args(["build", "--workspace", "--bin", program, "--target-dir"]).arg(target);
    if profile_dir.ends_with("release") {
        cargo.arg("--release");
    }
    output_of(cargo.current_dir(tree))?;
    Ok(profile_dir.join(program))
}
