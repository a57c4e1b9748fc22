//! The agent's binary, always up to date with its sources.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};

/// Builds `firewall-agent` in the profile of the running test, if it is out of date, and returns its path. Cargo builds
/// no binary of another package for a test, and one that exists may be old.
pub fn agent_binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| profile_dir().and_then(|dir| agent_of(&dir)).map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
}

/// Returns cargo's output directory of the profile that the running test was built in.
pub(super) fn profile_dir() -> Result<PathBuf> {
    let test = std::env::current_exe().context("no path of the running test")?;
    let dir = test.parent().and_then(|deps| deps.parent()).context("the test is in no target directory")?;
    Ok(dir.to_owned())
}

/// Builds `firewall-agent` in the profile of this directory and returns its path.
pub fn agent_of(profile_dir: &Path) -> Result<PathBuf> {
    let target = profile_dir.parent().context("the test is in no target directory")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--package", "firewall-agent", "--target-dir"]).arg(target);
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if profile_dir.ends_with("release") {
        cargo.arg("--release");
    }
    let out = cargo.output().context("cargo: not started")?;
    ensure!(
        out.status.success(),
        "firewall-agent: not built: {}",
        String::from_utf8_lossy(&out.stderr).trim()
    );
    Ok(profile_dir.join("firewall-agent"))
}
