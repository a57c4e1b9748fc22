//! Installation of cargo-deb into the tools.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::run::{run, say, succeeds};
use crate::workspace::Workspace;

const VERSION: &str = "3.8.0";

/// Builds cargo-deb if it is missing; unoptimised, this takes half a minute.
pub(super) fn ensure_cargo_deb(workspace: &Workspace) -> Result<PathBuf> {
    let tools = workspace.tools();
    let record = fs::read_to_string(tools.join(".crates2.json")).unwrap_or_default();
    let program = tools.join("bin/cargo-deb");
    let fits = || succeeds(Command::new(&program).arg("--version"));
    if !record.contains(&format!("\"cargo-deb {VERSION} (")) || !fits() {
        say(format_args!("cargo-deb {VERSION}: not in {}, building it", tools.display()));
        let scratch = tools.join("build-deb");
        run(workspace
            .cargo()
            .env("CARGO_TARGET_DIR", &scratch)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .args(["install", "cargo-deb", "--version", VERSION, "--locked", "--force", "--debug"])
            // Default features off: the machine's own xz compresses packages.
            .args(["--no-default-features", "--root"])
            .arg(&tools))?;
        fs::remove_dir_all(&scratch).context("cargo-deb: cannot remove its build directory")?;
        ensure!(fits(), "cargo-deb: built, but does not run");
    }
    Ok(program)
}
