//! Validators in Python that bring their schemas: of the Kubernetes API, of the Prometheus Operator's resources, and of
//! CycloneDX.

use anyhow::Result;
use xshell::cmd;

use crate::debian::ensure_packages;
use crate::workspace::Workspace;

/// Package, version, and extras.
const VALIDATORS: [(&str, &str, &str); 3] = [
    ("kubernetes-validate", "1.37.0", ""),
    ("cyclonedx-python-lib", "11.12.0", "[json-validation]"),
    // The newest version that Python 3.11 accepts.
    ("cloudcoil-models-prometheus-operator", "0.80.1.0", ""),
];

/// Ensures that the tools contain the validators, each in its own Python environment.
pub fn ensure_validators(workspace: &Workspace) -> Result<()> {
    let sh = &workspace.shell;
    for (package, version, extras) in VALIDATORS {
        let dir = workspace.tools().join(package);
        let pip = dir.join("bin/pip");
        let shown = cmd!(sh, "{pip} show {package}").ignore_stderr().read().unwrap_or_default();
        if shown.contains(&format!("Version: {version}\n")) {
            continue;
        }
        ensure_packages(sh, &[("python3-venv", &["python3"])])?;
        cmd!(sh, "/usr/bin/python3 -m venv {dir}").run()?;
        let quiet = ["--quiet", "--disable-pip-version-check"];
        cmd!(sh, "{pip} install {quiet...} {package}{extras}=={version}").run()?;
    }
    Ok(())
}
