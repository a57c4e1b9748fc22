//! `cargo xtask deny`: licences, banned crates and sources of the dependencies, by cargo-deny.

use std::process::Command;

use anyhow::Result;

use crate::cargo_tool::CargoTool;
use crate::run::run;
use crate::workspace::Workspace;

const CARGO_DENY: CargoTool<'_> =
    CargoTool { name: "cargo-deny", version: "0.20.2", arguments: &[], environment: &[] };

/// Builds cargo-deny into the tools if it is missing, which takes minutes, and checks `deny.toml`. Advisories are not
/// checked: their database is not part of this tree.
pub fn deny(workspace: &Workspace) -> Result<()> {
    let program = CARGO_DENY.ensure(workspace)?;
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut check = Command::new(&program);
        check.current_dir(&workspace.root).args(["--manifest-path", manifest, "--config", "deny.toml"]);
        run(check.args(["check", "licenses", "bans", "sources"]))?;
    }
    Ok(())
}
