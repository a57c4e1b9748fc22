//! What `cargo xtask test` has built and installed before the tests run.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// An artefact as it is given away, but for optimisation: `firewall-agent`, `firewall-agent.oci.tar`,
/// `firewall-agent.deb`, `firewall-agent.cdx.json`, `compiled.json`.
pub fn artefact(name: &str) -> Result<PathBuf> {
    below_target(&format!("test-artefacts/{name}"))
        .with_context(|| format!("{name}: not built; run `cargo xtask test-artefacts`"))
}

/// A program of one of the tools.
pub fn tool(path: &str) -> Result<PathBuf> {
    below_target(&format!("tools/{path}"))
        .with_context(|| format!("{path}: not installed; run `cargo xtask test`"))
}

fn below_target(path: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    test.ancestors().map(|dir| dir.join(path)).find(|path| path.exists())
}
