//! Artefacts and tools that `cargo xtask test` builds and installs before the tests run.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// Returns the path of a release artefact, built without optimisation: `firewall-agent`, `firewall-agent.oci.tar`,
/// `firewall-agent.deb`, `firewall-agent.cdx.json`, `compiled.json`.
pub fn artefact(name: &str) -> Result<PathBuf> {
    below_target(&format!("test-artefacts/{name}"))
        .with_context(|| format!("{name}: not built; run `cargo xtask test-artefacts`"))
}

/// Returns the path of an installed tool.
pub fn tool(path: &str) -> Result<PathBuf> {
    below_target(&format!("tools/{path}"))
        .with_context(|| format!("{path}: not installed; run `cargo xtask test`"))
}

fn below_target(path: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    test.ancestors().map(|dir| dir.join(path)).find(|path| path.exists())
}
