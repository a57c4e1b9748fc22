//! `cargo xtask deny`: licences, banned crates and sources of the dependencies, by cargo-deny.

use anyhow::Result;
use xshell::cmd;

use crate::cargo_tool::CargoTool;
use crate::workspace::Workspace;

const CARGO_DENY: CargoTool<'_> =
    CargoTool { name: "cargo-deny", version: "0.20.2", arguments: &[], environment: &[] };

/// Builds cargo-deny into the tools if it is missing, which takes minutes, and checks `deny.toml`. Advisories are not
/// checked: their database is not part of this tree.
pub fn deny(workspace: &Workspace) -> Result<()> {
    let deny = CARGO_DENY.ensure(workspace)?;
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let options = ["--manifest-path", manifest, "--config", "deny.toml"];
        cmd!(workspace.shell, "{deny} {options...} check licenses bans sources").run()?;
    }
    Ok(())
}
