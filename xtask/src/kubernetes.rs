//! The validator of Kubernetes manifests, which brings the schemas of the API along.

use std::process::Command;

use anyhow::Result;

use crate::debian::ensure_packages;
use crate::run::{output, run};
use crate::workspace::Workspace;

const VERSION: &str = "1.37.0";

/// Makes sure that the tools hold it, in a Python environment of its own.
pub fn ensure_validator(workspace: &Workspace) -> Result<()> {
    let place = workspace.tools().join("kubernetes-validate");
    let pip = place.join("bin/pip");
    let shown = output(Command::new(&pip).args(["show", "kubernetes-validate"])).unwrap_or_default();
    if shown.contains(&format!("Version: {VERSION}\n")) {
        return Ok(());
    }
    ensure_packages(&["python3-venv"], &["python3"])?;
    run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&place))?;
    run(Command::new(pip)
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .arg(format!("kubernetes-validate=={VERSION}")))
}
