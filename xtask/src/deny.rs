//! `cargo xtask deny`: licences, banned crates and sources of the dependencies, by cargo-deny.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::run::{run, say, succeeds};
use crate::workspace::Workspace;

const VERSION: &str = "0.20.2";

/// Builds cargo-deny into the tools if it is missing, which takes minutes, and checks `deny.toml`. Advisories are not
/// checked: their database is not part of this tree.
pub fn deny(workspace: &Workspace) -> Result<()> {
    let tools = workspace.tools();
    let record = fs::read_to_string(tools.join(".crates2.json")).unwrap_or_default();
    let program = tools.join("bin/cargo-deny");
    let fits = || succeeds(Command::new(&program).arg("--version"));
    if !record.contains(&format!("\"cargo-deny {VERSION} (")) || !fits() {
        say(format_args!("cargo-deny {VERSION}: not in {}, building it", tools.display()));
        let scratch = tools.join("build-deny");
        run(workspace
            .cargo()
            .env("CARGO_TARGET_DIR", &scratch)
            .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--force", "--root"])
            .arg(&tools))?;
        fs::remove_dir_all(&scratch).context("cargo-deny: cannot remove its build directory")?;
        ensure!(fits(), "cargo-deny: built, but does not run");
    }
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut check = Command::new(&program);
        check.current_dir(&workspace.root).args(["--manifest-path", manifest, "--config", "deny.toml"]);
        run(check.args(["check", "licenses", "bans", "sources"]))?;
    }
    Ok(())
}
