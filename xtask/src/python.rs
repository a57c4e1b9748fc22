//! Validators in Python that bring their schemas: the Kubernetes API's and CycloneDX's.

use std::process::Command;

use anyhow::Result;

use crate::debian::ensure_packages;
use crate::run::{output, run};
use crate::workspace::Workspace;

/// Package, version, and extras.
const VALIDATORS: [(&str, &str, &str); 2] =
    [("kubernetes-validate", "1.37.0", ""), ("cyclonedx-python-lib", "11.12.0", "[json-validation]")];

/// Ensures that the tools contain the validators, each in its own Python environment.
pub fn ensure_validators(workspace: &Workspace) -> Result<()> {
    for (package, version, extras) in VALIDATORS {
        let dir = workspace.tools().join(package);
        let pip = dir.join("bin/pip");
        let shown = output(Command::new(&pip).args(["show", package])).unwrap_or_default();
        if shown.contains(&format!("Version: {version}\n")) {
            continue;
        }
        ensure_packages(&[("python3-venv", &["python3"])])?;
        run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&dir))?;
        run(Command::new(pip)
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .arg(format!("{package}{extras}=={version}")))?;
    }
    Ok(())
}
